import { readToken } from '../../../broker/http/job-token.js'
import type { JobAck, Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { HttpLink } from '../http-link.js'
import type { Lab } from '../lab.js'
import { assertHttpPossible, requestSurely } from './http-calls.js'
import { nameOf, payloadOf } from './payload.js'
import { recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, type WorkTopic } from './topics.js'
import type { QueueWork } from './worker-program.js'

interface Asked {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly idempotencyKey?: string
}

/** Asks in JSON, until there is an answer that counts. */
async function askSurely(
  process: ClientProcess,
  link: HttpLink,
  { method, path, body, idempotencyKey }: Asked,
): Promise<unknown> {
  const answer = await requestSurely(process, link, {
    method,
    path,
    headers: {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    },
    bytes: body === undefined ? undefined : Buffer.from(JSON.stringify(body)),
  })
  return answer.body
}

/** Appends records, several in one request: all of them or none, and once, however often it is sent. */
export async function post(
  lab: Lab,
  process: ClientProcess,
  topic: WorkTopic,
  link: HttpLink,
): Promise<void> {
  await ensureTopic(process, [topic])
  const { random, name } = process
  for (let i = 0; !process.isEnding; i++) {
    const records = Array.from({ length: 1 + random.below(4) }, (_, k) => ({
      partition: random.below(topic.partitions),
      name: `${name}/${i}/${k}`,
      fillerBytes: random.pick([0, 100, 1_000]),
    }))
    const outcome = await recorded(
      lab.history,
      {
        type: 'write',
        process: name,
        atomic: true,
        records: records.map(({ partition, name }) => ({ topicId: topic.name, partition, value: name })),
      },
      async () => {
        const body = records.map(({ partition, name, fillerBytes }) => ({
          partition,
          value: payloadOf(name, fillerBytes),
        }))
        const path = `/v1/topics/${topic.name}/records`
        const answer = await askSurely(process, link, {
          method: 'POST',
          path,
          body,
          idempotencyKey: `${name}-${i}`,
        })
        return (answer as { records: { partition: number; offset: number }[] }).records
      },
      (places) => places.map(({ partition, offset }) => ({ partition, offset })),
    )
    if ('error' in outcome) assertHttpPossible(outcome.error)
    await process.sleep(2 * thinkMs(lab, random))
  }
}

interface Page {
  readonly records: readonly { readonly offset: number; readonly value: unknown }[]
  readonly nextOffset: number
}

/** Reads pages, one behind the other, waiting at the end. */
export async function get(lab: Lab, process: ClientProcess, topic: WorkTopic, link: HttpLink): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const partition = random.below(topic.partitions)
    let from = 0
    while (!process.isEnding && !random.chance(0.05)) {
      const query = `offset=${from}&limit=${random.pick([1, 10, 1_000])}&wait=${random.pick([0, 300])}`
      const path = `/v1/topics/${topic.name}/partitions/${partition}/records?${query}`
      try {
        const page = (await askSurely(process, link, { method: 'GET', path })) as Page
        const records = page.records.map(({ offset, value }): Seen => [offset, nameOf(value)])
        const { nextOffset: next } = page
        const reader = `${process.name}/${round}`
        lab.history.record({ type: 'read', reader, topicId: topic.name, partition, from, next, records })
        from = next
      } catch (error) {
        assertHttpPossible(error)
      }
      await process.sleep(1 + thinkMs(lab, random))
    }
  }
}

interface ClaimedJob {
  readonly token: string
  readonly deliveryCount: number
  readonly record: { readonly partition: number; readonly offset: number; readonly value: unknown }
}

/** Claims jobs, and settles each by its token. */
export async function claim(
  lab: Lab,
  process: ClientProcess,
  queue: QueueWork,
  link: HttpLink,
): Promise<void> {
  const { group, from: topic, leaseMs, maxDeliveries } = queue
  await ensureTopic(process, [topic])
  const { random } = process
  while (!process.isEnding) {
    const max = random.pick([1, 4])
    const body = { topic: topic.name, max, wait: random.pick([0, 300]), leaseMs, maxDeliveries }
    try {
      const path = `/v1/groups/${group}/jobs/claim`
      const { jobs } = (await askSurely(process, link, { method: 'POST', path, body })) as {
        jobs: ClaimedJob[]
      }
      for (const job of jobs) await settle(lab, process, { job, queue, link })
    } catch (error) {
      assertHttpPossible(error, ['LIMIT_REACHED', 'UNKNOWN_GROUP'])
    }
    await process.sleep(1 + thinkMs(lab, random))
  }
}

async function settle(
  lab: Lab,
  process: ClientProcess,
  { job, queue: { group, from }, link }: { job: ClaimedJob; queue: QueueWork; link: HttpLink },
): Promise<void> {
  const { random } = process
  const { token, deliveryCount: count, record } = job
  const { leaseId, memberId: member } = readToken(token)
  const { partition, offset } = record
  const at: Omit<JobAck, 'kind'> = { group, member, topicId: from.name, partition, offset, leaseId }
  lab.history.record({ type: 'leased', ...at, value: nameOf(record.value), count })
  await process.sleep(thinkMs(lab, random) / 4)
  if (random.chance(0.1) && !lab.isEnding) return
  const kind = random.chance(0.8) ? 'ack' : 'nack'
  const body = { tokens: [token], ...(kind === 'nack' && { delayMs: random.pick([0, 300]) }) }
  const outcome = await recorded(lab.history, { type: 'settle', ...at, kind }, async () => {
    const path = `/v1/groups/${group}/jobs/${kind}`
    const { refused } = (await askSurely(process, link, { method: 'POST', path, body })) as {
      refused: { code: string }[]
    }
    const [first] = refused
    // An earlier attempt may have done it.
    if (first !== undefined)
      throw Object.assign(new Error('refused'), { code: first.code, outcome: 'unknown' })
  })
  if ('error' in outcome) assertHttpPossible(outcome.error, ['LEASE_LOST', 'UNKNOWN_MEMBER', 'UNKNOWN_GROUP'])
}
