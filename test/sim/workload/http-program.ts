import { readToken } from '../../../broker/http/job-token.js'
import type { JobAck, Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { AskHttp, HttpAnswer } from '../http-link.js'
import type { Lab } from '../lab.js'
import { nameOf, payloadOf } from './payload.js'
import { recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'
import type { QueueWork } from './worker-program.js'

interface Asked {
  readonly method: string
  readonly path: string
  readonly body?: unknown
  readonly idempotencyKey?: string
}

/** As the client library throws it. */
class HttpError extends Error {
  readonly code: string
  readonly retriable: boolean
  outcome: string

  constructor({ status, body }: HttpAnswer) {
    const { error } = body as {
      error: { code: string; message: string; retriable: boolean; outcome: string }
    }
    super(`${status}: ${error.message}`)
    this.code = error.code
    this.retriable = error.retriable
    this.outcome = error.outcome
  }
}

/** Asks until there is an answer that counts, a few times. */
async function askSurely(
  process: ClientProcess,
  ask: AskHttp,
  { method, path, ...more }: Asked,
): Promise<unknown> {
  let isMaybeDone = false
  for (let left = process.random.pick([1, 3, 20]); ; left--) {
    try {
      const answer = await ask(method, path, more)
      if (answer.status < 300) return answer.body
      throw new HttpError(answer)
    } catch (thrown) {
      const error = thrown as HttpError
      if (error.code === undefined) throw error
      if (error.outcome === 'unknown') isMaybeDone = true
      if (isMaybeDone) error.outcome = 'unknown'
      if (!isPassing(error) || left === 1) throw error
      await process.sleep(30)
    }
  }
}

/** What is no answer to the question, and nobody's fault. */
function assertHttpPossible(error: unknown, codes: readonly string[] = []): void {
  if (!isPassing(error) && !codes.includes((error as { code?: string }).code ?? '')) throw error
}

/** Appends records, several in one request: all of them or none, and once, however often it is sent. */
export async function post(lab: Lab, process: ClientProcess, topic: WorkTopic, ask: AskHttp): Promise<void> {
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
        const answer = await askSurely(process, ask, {
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
export async function get(lab: Lab, process: ClientProcess, topic: WorkTopic, ask: AskHttp): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const partition = random.below(topic.partitions)
    let from = 0
    while (!process.isEnding && !random.chance(0.05)) {
      const query = `offset=${from}&limit=${random.pick([1, 10, 1_000])}&wait=${random.pick([0, 300])}`
      const path = `/v1/topics/${topic.name}/partitions/${partition}/records?${query}`
      try {
        const page = (await askSurely(process, ask, { method: 'GET', path })) as Page
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
export async function claim(lab: Lab, process: ClientProcess, queue: QueueWork, ask: AskHttp): Promise<void> {
  const { group, from: topic, leaseMs, maxDeliveries } = queue
  await ensureTopic(process, [topic])
  const { random } = process
  while (!process.isEnding) {
    const max = random.pick([1, 4])
    const body = { topic: topic.name, max, wait: random.pick([0, 300]), leaseMs, maxDeliveries }
    try {
      const path = `/v1/groups/${group}/jobs/claim`
      const { jobs } = (await askSurely(process, ask, { method: 'POST', path, body })) as {
        jobs: ClaimedJob[]
      }
      for (const job of jobs) await settle(lab, process, { job, queue, ask })
    } catch (error) {
      assertHttpPossible(error, ['LIMIT_REACHED', 'UNKNOWN_GROUP'])
    }
    await process.sleep(1 + thinkMs(lab, random))
  }
}

async function settle(
  lab: Lab,
  process: ClientProcess,
  { job, queue: { group, from }, ask }: { job: ClaimedJob; queue: QueueWork; ask: AskHttp },
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
    const { refused } = (await askSurely(process, ask, { method: 'POST', path, body })) as {
      refused: { code: string }[]
    }
    const [first] = refused
    // An earlier attempt may have done it.
    if (first !== undefined)
      throw Object.assign(new Error('refused'), { code: first.code, outcome: 'unknown' })
  })
  if ('error' in outcome) assertHttpPossible(outcome.error, ['LEASE_LOST', 'UNKNOWN_MEMBER', 'UNKNOWN_GROUP'])
}
