import { describe, expect, it } from 'vitest'
import { connect, defineTopic, json, nullable, text } from '../../../client/index.js'
import { ManualClock } from '../../../testing/manual-clock.js'
import { until } from '../../support/until.js'
import { atEnd, type HttpBroker, newDirectory, startHttp } from './harness.js'

interface Job {
  readonly token: string
  readonly deliveryCount: number
  readonly deadline: string
  readonly record: { readonly value: unknown; readonly offset: number }
}

const jobsPath = '/v1/groups/mail/jobs'

/** A claim of jobs that are there: it waits for nothing but the broker. */
async function claim(http: HttpBroker, body: object = {}): Promise<Job[]> {
  const { status, json, text } = await http.post(`${jobsPath}/claim`, { topic: 'a', wait: 10_000, ...body })
  if (status !== 200) throw new Error(text)
  return json.jobs
}

const tokensOf = (jobs: readonly Job[]) => jobs.map(({ token }) => token)
const valuesOf = (jobs: readonly Job[]) => jobs.map(({ record }) => record.value)

async function withJobs(
  values: unknown[],
  options: Parameters<typeof startHttp>[0] = {},
): Promise<HttpBroker> {
  const http = await startHttp(options)
  await http.createTopic('a')
  if (values.length > 0)
    await http.post(
      '/v1/topics/a/records',
      values.map((value) => ({ value })),
    )
  return http
}

const describeGroup = async (http: HttpBroker) => (await http.get('/v1/groups/mail')).json

describe('jobs over HTTP', () => {
  it('are claimed once, and once done not given out again', async () => {
    const http = await withJobs([1, 2, 3])
    const first = await claim(http, { max: 2 })
    expect(valuesOf(first)).toEqual([1, 2])
    expect(first[0]).toMatchObject({ deliveryCount: 1, record: { topic: 'a', partition: 0, offset: 0 } })
    expect(Date.parse(first[0]?.deadline ?? '') - Date.now()).toBeGreaterThan(20_000)
    const second = await claim(http, { max: 10 })
    expect(valuesOf(second)).toEqual([3])
    expect(await claim(http, { wait: 0 })).toEqual([])
    const tokens = tokensOf([...first, ...second])
    expect((await http.post(`${jobsPath}/ack`, { tokens })).json).toEqual({ refused: [] })
    const { partitions, isActive, members } = await describeGroup(http)
    expect(partitions).toMatchObject([{ position: 3, leased: 0 }])
    expect([isActive, members]).toEqual([false, []])
    expect((await http.post(`${jobsPath}/ack`, { tokens: tokens.slice(0, 1) })).json.refused).toEqual([
      { token: tokens[0], code: 'LEASE_LOST' },
    ])
  })

  it('are waited for', async () => {
    const http = await withJobs([])
    const waiting = claim(http, { wait: 20_000 })
    await until(async () => (await describeGroup(http)).members?.length === 1)
    await http.post('/v1/topics/a/records', { value: 'late' })
    expect(valuesOf(await waiting)).toEqual(['late'])
  })

  it('that failed come back counted, and in the end are dead letters', async () => {
    const http = await withJobs(['x'])
    const [first] = await claim(http, { maxDeliveries: 2 })
    expect(first?.deliveryCount).toBe(1)
    await http.post(`${jobsPath}/nack`, { tokens: [first?.token], delayMs: 0 })
    const [second] = await claim(http)
    expect(second?.deliveryCount).toBe(2)
    await http.post(`${jobsPath}/nack`, { tokens: [second?.token], reason: 'broken' })
    expect(await claim(http, { wait: 0 })).toEqual([])
    const { json } = await http.get('/v1/groups/mail/topics/a/dead-letters')
    expect(json.deadLetters).toMatchObject([{ value: 'x', reason: 'broken', count: 2 }])
  })

  it('that failed stay away for as long as was asked for', async () => {
    const clock = new ManualClock()
    const http = await startHttp({}, { clock })
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', { value: 1 })
    const [job] = await claim(http)
    await http.post(`${jobsPath}/nack`, { tokens: [job?.token], delayMs: 3_600_000 })
    await clock.advance(3_500_000)
    expect(await claim(http, { wait: 0 })).toEqual([])
    await clock.advance(200_000)
    expect(await claim(http)).toMatchObject([{ deliveryCount: 2, record: { value: 1 } }])
  })

  it('that nobody settles go to others when their lease ends, unless it is extended', async () => {
    const http = await withJobs([1, 2])
    const [kept, lost] = await claim(http, { max: 2, leaseMs: 3_000 })
    const { json } = await http.post(`${jobsPath}/extend`, { tokens: [kept?.token], ms: 60_000 })
    expect(json).toMatchObject({ refused: [], deadlines: [{ token: kept?.token }] })
    expect(Date.parse(json.deadlines[0].deadline) - Date.now()).toBeGreaterThan(50_000)
    const again = await claim(http, { max: 2, wait: 10_000 })
    expect(again).toMatchObject([{ deliveryCount: 2, record: { value: 2 } }])
    // What was given to another is not this one's to finish.
    expect((await http.post(`${jobsPath}/ack`, { tokens: [lost?.token] })).json.refused).toMatchObject([
      { code: 'LEASE_LOST' },
    ])
    expect((await http.post(`${jobsPath}/ack`, { tokens: tokensOf(again) })).json.refused).toEqual([])
    expect((await http.post(`${jobsPath}/ack`, { tokens: [kept?.token] })).json.refused).toEqual([])
    expect((await describeGroup(http)).partitions).toMatchObject([{ position: 2 }])
  })

  it('beyond those that were asked for stay with the others, uncounted', async () => {
    const http = await withJobs([1])
    const [job] = await claim(http, { max: 100 })
    // The claim had room for 99 more: it has none any more.
    await http.post('/v1/topics/a/records', [{ value: 2 }, { value: 3 }])
    expect(await claim(http, { max: 10 })).toMatchObject([
      { deliveryCount: 1, record: { value: 2 } },
      { deliveryCount: 1, record: { value: 3 } },
    ])
    await http.post(`${jobsPath}/ack`, { tokens: [job?.token] })
  })

  it('whose claimer has gone before the answer go to others, uncounted', async () => {
    const http = await withJobs([])
    const socket = await http.connect()
    const body = '{"topic":"a","wait":50000}'
    socket.write(
      `POST ${jobsPath}/claim HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await until(async () => (await describeGroup(http)).members?.length === 1)
    socket.destroy()
    await until(async () => (await describeGroup(http)).members?.length === 0)
    await http.post('/v1/topics/a/records', { value: 1 })
    expect(await claim(http)).toMatchObject([{ deliveryCount: 1 }])
  })

  it('are settled after a restart of the broker as well', async () => {
    const dataDir = await newDirectory()
    const before = await withJobs([1, 2, 3], { dataDir })
    const jobs = await claim(before, { max: 3 })
    expect(jobs).toHaveLength(3)
    await before.broker.close()
    const after = await startHttp({ dataDir })
    const [one, two, three] = tokensOf(jobs)
    expect((await after.post(`${jobsPath}/ack`, { tokens: [one] })).json.refused).toEqual([])
    expect((await after.post(`${jobsPath}/nack`, { tokens: [two], delayMs: 0 })).json.refused).toEqual([])
    expect((await after.post(`${jobsPath}/ack`, { tokens: [three] })).json.refused).toEqual([])
    const again = await claim(after)
    expect(again).toMatchObject([{ deliveryCount: 2, record: { value: 2 } }])
    expect((await describeGroup(after)).partitions).toMatchObject([{ position: 1, leased: 1 }])
  })

  it('are shared with workers of the client library', async () => {
    const http = await withJobs(Array.from({ length: 40 }, (_, i) => i))
    const client = connect(http.broker.url)
    atEnd(() => client.close())
    const topic = defineTopic({ name: 'a', key: nullable(text()), value: json<number>() })
    const seen: unknown[] = []
    const claimed = await claim(http, { max: 15 })
    seen.push(...valuesOf(claimed))
    await http.post(`${jobsPath}/ack`, { tokens: tokensOf(claimed) })
    for await (const job of client.queue(topic, { group: 'mail', prefetch: 5 })) {
      seen.push(job.value)
      await job.ack()
      if (seen.length === 40) break
    }
    expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i))
  })

  it.each([
    ['no token', { tokens: ['x'] }],
    [
      'a token of other numbers',
      { tokens: [`${'a'.repeat(32)}.${'b'.repeat(32)}.${'c'.repeat(32)}.0.1.-1`] },
    ],
    ['too many tokens', { tokens: Array.from({ length: 1_001 }, () => 'x') }],
  ])('are not settled by %s', async (_what, body) => {
    const http = await withJobs([1])
    const { status, json } = await http.post(`${jobsPath}/ack`, body)
    expect([status, json.error.code]).toEqual([400, 'BAD_REQUEST'])
  })

  it('of a group or a topic that is not there make neither', async () => {
    const http = await withJobs([1])
    const token = `${'a'.repeat(32)}.${'b'.repeat(32)}.${'c'.repeat(32)}.0.1.0`
    expect((await http.post(`${jobsPath}/ack`, { tokens: [token] })).json.refused).toEqual([
      { token, code: 'LEASE_LOST' },
    ])
    expect((await http.post(`${jobsPath}/claim`, { topic: 'b' })).json.error.code).toBe('UNKNOWN_TOPIC')
    expect((await http.get('/v1/groups')).json.groups).toEqual([])
    await http.post('/v1/groups/mail/reset', { to: 'latest', topic: 'a', create: true })
    expect((await http.post(`${jobsPath}/claim`, { topic: 'a' })).json.error.code).toBe('GROUP_KIND_CONFLICT')
  })
})
