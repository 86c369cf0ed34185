import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, connect, defineTopic, json, text } from '../../../client/index.js'
import { type Cli, millrace, startBrokerProcess } from '../../support/cli.js'

let directory: string
let broker: { cli: Cli; url: string }
let client: Client
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-dlq-'))
  broker = await startBrokerProcess(directory)
  client = connect(broker.url)
})
afterAll(async () => {
  await client.close()
  broker.cli.kill('SIGKILL')
  await broker.cli.finished
  rmSync(directory, { recursive: true })
})

/** What a run printed, as one value to compare. */
async function said(...argv: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await millrace(argv, { env: { MILLRACE_URL: broker.url } })
  return { code, stdout: stdout.toString(), stderr }
}

const done = (stdout: string) => ({ code: 0, stdout, stderr: '' })
const failed = (line: string, code = 1) => ({ code, stdout: '', stderr: `millrace: ${line}\n` })

const topicNamed = (name: string) => defineTopic({ name, key: text(), value: json<{ n: number }>() })

/** A topic of so many jobs, all of which the group gives up. */
async function deadLetters(name: string, { group, count }: { group: string; count: number }) {
  const topic = topicNamed(name)
  await client.ensureTopic(topic)
  const producer = client.producer(topic)
  for (let n = 0; n < count; n++) await producer.send({ key: `k${n}`, value: { n } })
  await work(name, { group, count, handle: fail })
}

const fail = ({ value }: { value: { n: number } }): void => {
  throw new Error(`cannot do ${value.n}`)
}

/** Works on so many jobs, then leaves. */
async function work(
  name: string,
  options: { group: string; count: number; handle(job: { value: { n: number } }): void },
): Promise<number[]> {
  const { group, count, handle } = options
  const seen: number[] = []
  const queue = client.queue(topicNamed(name), { group, maxDeliveries: 1 })
  for await (const job of queue) {
    seen.push(job.value.n)
    try {
      handle(job)
      await job.ack()
    } catch (error) {
      await job.nack({ reason: (error as Error).message })
    }
    if (seen.length === count) break
  }
  return seen
}

describe('millrace dlq', () => {
  it('lists the dead letters of a group, one a line or whole', async () => {
    await deadLetters('listed', { group: 'g', count: 3 })
    expect(await said('dlq', 'list', 'listed', 'g')).toEqual(
      done(
        'OFFSET  ORIGIN      TRIES  REASON       KEY  VALUE\n' +
          [0, 1, 2]
            .map((n) => `     ${n}  listed/0@${n}      1  cannot do ${n}  k${n}   {"n":${n}}\n`)
            .join(''),
      ),
    )
    const [first, ...others] = (await said('dlq', 'list', 'listed', 'g', '--json', '--max', '2')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(others).toHaveLength(1)
    expect(first).toMatchObject({
      topic: 'listed.g.dlq',
      offset: 0,
      key: 'k0',
      value: { n: 0 },
      headers: {},
      reason: 'cannot do 0',
      count: 1,
      origin: { topic: 'listed', partition: 0, offset: 0 },
      group: 'g',
      time: expect.stringMatching(/^20.*Z$/),
    })
    expect((await said('group', 'describe', 'g')).stdout).toMatch(/listed +3 +listed\.g\.dlq\n$/)
  })

  it('replays them to their group alone, the oldest first', async () => {
    await deadLetters('replayed', { group: 'first', count: 4 })
    await deadLetters('replayed', { group: 'second', count: 4 })
    expect(await said('dlq', 'replay', 'replayed', 'first', '--max', '1')).toEqual(
      done('replayed 1 dead letter\n'),
    )
    expect(await said('dlq', 'replay', 'replayed', 'first')).toEqual(done('replayed 3 dead letters\n'))
    expect(await said('dlq', 'list', 'replayed', 'first')).toEqual(done(''))
    const again = await work('replayed', { group: 'first', count: 4, handle: () => {} })
    expect(again).toEqual([0, 1, 2, 3])
    expect(await said('dlq', 'replay', 'replayed', 'first')).toEqual(done('replayed 0 dead letters\n'))
    const others = (await said('dlq', 'list', 'replayed', 'second')).stdout.trim().split('\n')
    expect(others).toHaveLength(1 + 4)
  })

  it('goes on counting the tries of what fails again', async () => {
    await deadLetters('repeated', { group: 'g', count: 1 })
    await said('dlq', 'replay', 'repeated', 'g')
    await work('repeated', { group: 'g', count: 1, handle: fail })
    expect((await said('dlq', 'list', 'repeated', 'g')).stdout).toMatch(/repeated\/0@0 +2 +cannot do 0/)
  })

  it('purges them, not without being sure', async () => {
    await deadLetters('purged', { group: 'g', count: 2 })
    expect(await said('dlq', 'purge', 'purged', 'g')).toEqual(
      failed(
        'deleting the dead letters of group g in topic purged needs --yes: stdin is no terminal, so there is nobody to ask',
        2,
      ),
    )
    expect(await said('dlq', 'purge', 'purged', 'g', '--yes')).toEqual(done('deleted 2 dead letters\n'))
    expect(await said('dlq', 'purge', 'purged', 'g', '-y')).toEqual(done('deleted 0 dead letters\n'))
    expect(await said('dlq', 'list', 'purged', 'g')).toEqual(done(''))
  })

  it('tells a group that gave nothing up from one that is not there', async () => {
    await client.ensureTopic(topicNamed('quiet'))
    await client.producer(topicNamed('quiet')).send({ value: { n: 1 } })
    await work('quiet', { group: 'content', count: 1, handle: () => {} })
    expect(await said('dlq', 'list', 'quiet', 'content')).toEqual(done(''))
    const unknown = failed('there is no group "nobody" (UNKNOWN_GROUP)')
    expect(await said('dlq', 'list', 'quiet', 'nobody')).toEqual(unknown)
    expect(await said('dlq', 'replay', 'quiet', 'nobody')).toEqual(unknown)
    expect(await said('dlq', 'purge', 'quiet', 'nobody', '--yes')).toEqual(unknown)
    expect(await said('dlq', 'list', 'nowhere', 'g')).toEqual(
      failed('there is no topic "nowhere" (UNKNOWN_TOPIC)'),
    )
  })

  it('refuses what makes no sense', async () => {
    expect(await said('dlq', 'list', 'orders')).toEqual(failed("missing required argument 'group'", 2))
    expect(await said('dlq', 'replay', 'orders', 'g', '--max', '0')).toEqual(
      failed("option '--max <n>' argument '0' is invalid. It must be a whole number, 1 or more.", 2),
    )
  })
})
