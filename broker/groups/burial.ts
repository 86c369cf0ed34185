import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { Clock } from '../platform/clock.js'
import type { Metrics } from '../platform/metrics.js'
import { joined } from '../shard/offset-ranges.js'
import { QUEUE_REASON, type QueueState } from '../shard/queue-state.js'
import type { ShardGroups } from '../shard/shard-groups.js'
import type { DeadLetters, LetterShard } from './dead-letters.js'
import { batchOf, type FoundRecord, letterRecord, unreadableRecord } from './letter.js'
import type { DeadJob } from './queue-events.js'

export interface BurialOptions {
  readonly at: { readonly groupId: number; readonly topicId: TopicId; readonly partition: number }
  readonly group: string
  readonly shard: LetterShard & { readonly groups: LetterShard['groups'] & Pick<ShardGroups, 'queue'> }
  readonly letters: DeadLetters
  readonly clock: Clock
  readonly metrics: Metrics
  /** The job's dead letter is written, or nobody needs one any more. */
  readonly buried: (offset: number) => void
  /** Whether nothing of the partition goes on after this error. */
  readonly isEnd: (error: unknown) => boolean
  readonly warn: (message: string, error: unknown) => void
}

const JOBS_PER_UNIT_MAX = 100
const UNIT_BYTES_MAX = 512 * 1024
/** The record will not be read later either. */
const DAMAGE_CODES: ReadonlySet<string> = new Set(['CORRUPT_DATA', 'BAD_BATCH'])
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000

/** What becomes of a job: a letter with its record, or nothing when the record is gone. */
interface Grave {
  readonly job: DeadJob
  readonly record: FoundRecord | undefined
}

/**
 * Writes the dead letters of one partition of a work queue, each together with the end of its job. What cannot be written
 * now is tried until it can: a job is never lost, and never delivered again meanwhile. A record that is damaged is
 * buried without key and value: its letter says where it is, and no other job waits for it.
 */
export class Burial {
  readonly #options: BurialOptions
  readonly #jobs: DeadJob[] = []
  #isRunning = false
  #isStopped = false

  constructor(options: BurialOptions) {
    this.#options = options
  }

  get isIdle(): boolean {
    return !this.#isRunning
  }

  add(jobs: readonly DeadJob[]): void {
    this.#jobs.push(...jobs)
    if (!this.#isRunning) void this.#run()
  }

  stop(): void {
    this.#isStopped = true
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    const { group, clock, isEnd, warn, buried } = this.#options
    let retryMs = RETRY_MS_MIN
    while (this.#jobs.length > 0 && !this.#isStopped) {
      try {
        const done = await this.#bury(this.#jobs.slice(0, JOBS_PER_UNIT_MAX))
        retryMs = RETRY_MS_MIN
        for (const { offset } of this.#jobs.splice(0, done)) buried(offset)
      } catch (error) {
        if (this.#isStopped || isEnd(error)) break
        warn(`work queue "${group}": a dead letter cannot be written; it is tried again`, error)
        await new Promise<void>((resolve) => clock.setTimer(resolve, retryMs, { unref: true }))
        retryMs = Math.min(2 * retryMs, RETRY_MS_MAX)
      }
    }
    this.#isRunning = false
  }

  /** Writes as many of the jobs as fit one unit, the first at least; says how many. */
  async #bury(jobs: readonly DeadJob[]): Promise<number> {
    const { at, group, shard, letters, metrics } = this.#options
    const { topicId, partition } = at
    const source = shard.topic(topicId)
    const found: Grave[] = []
    let bytes = 0
    for (const job of jobs) {
      const grave = await this.#dig(job)
      bytes += grave.record === undefined ? 0 : sizeOf(grave.record)
      if (found.length > 0 && bytes > UNIT_BYTES_MAX) break
      found.push(grave)
    }
    const needsTopic = found.some(({ record }) => record !== undefined) && source !== undefined
    const dlq = needsTopic ? await letters.topicFor(source, group, 'deadLetters') : undefined
    const written = await shard.groups.queue(
      { ...at, ifNoCursor: 'earliest', appendBytes: bytes },
      (queue, time) => {
        const due = found.filter(({ job }) => isDue(queue, job))
        if (due.length === 0) return { move: undefined, result: 0 }
        const records = due.flatMap(({ job: { reason, count }, record }) => {
          if (record === undefined || source === undefined) return []
          return letterRecord({ record, topic: source.name, partition, group, reason, count, time })
        })
        const acked = joined(due.map(({ job: { offset } }) => ({ from: offset, to: offset + 1 })))
        const move = {
          floor0: queue.floor,
          frontier: queue.frontier,
          nextLeaseId: queue.nextLeaseId,
          claims: [],
          acked,
          returned: [],
          extended: [],
          reason: QUEUE_REASON.settled,
        }
        if (records.length === 0 || dlq === undefined) return { move, result: 0 }
        const appends = [batchOf(records, { topicId: dlq, partition: 0 })]
        return { move, appends, result: records.length }
      },
    )
    metrics.count('deadLetters', written)
    return found.length
  }

  async #dig(job: DeadJob): Promise<Grave> {
    const { at, group, letters, shard, warn } = this.#options
    const { offset } = job
    try {
      return { job, record: await letters.record({ ...at, offset }) }
    } catch (error) {
      const code = error instanceof MillraceError ? error.code : 'INTERNAL'
      if (!DAMAGE_CODES.has(code)) throw error
      warn(`work queue "${group}": the record at offset ${offset} is buried without key and value`, error)
      const reason = `its record could not be read (${code}); ${job.reason}`
      return { job: { ...job, reason }, record: unreadableRecord({ offset, code, time: shard.time() }) }
    }
  }
}

/** Whether the job is where it was given up: somebody may have acknowledged it, or begun the queue anew. */
const isDue = (queue: QueueState, { offset, leaseId }: DeadJob): boolean =>
  queue.at(offset)?.leaseId === leaseId

/** Roughly, and rather too much. */
const sizeOf = ({ key, value, headers }: FoundRecord): number => {
  let bytes = 4096 + lengthOf(key) + lengthOf(value)
  for (const [name, text] of Object.entries(headers ?? {})) bytes += lengthOf(name) + lengthOf(text)
  return bytes
}

const lengthOf = (wire: string | Uint8Array | null): number =>
  wire === null ? 0 : typeof wire === 'string' ? 3 * wire.length : wire.length
