import type { QueueDeliver } from '../../protocol/messages/queue.js'
import type { WireRecord } from '../../protocol/record.js'
import { decodeRecords } from '../../protocol/records.js'
import type { MemberLink, Membership } from '../groups/member-link.js'
import type { TopicInfo } from '../shard/shard-face.js'
import { type BatchPlace, readableWriter } from './record-text.js'

/** A job as it was delivered. */
export interface DeliveredJob {
  readonly at: {
    readonly topicId: TopicInfo['topicId']
    readonly partition: number
    readonly leaseId: number
    readonly offset: number
  }
  /** Broker time at which the lease ends, milliseconds. */
  readonly deadline: number
  /** The number of this delivery: 1 for the first. */
  readonly deliveryCount: number
  /** The record as JSON, on one line. */
  readonly record: string
}

type Delivery = Omit<QueueDeliver, keyof Membership | 'payloads'>

/**
 * The connection of a worker that has none: it claimed jobs by one request and settles them by others. It counts as there until
 * it is let go, and takes jobs only while it is asked to.
 */
export class ClaimLink implements MemberLink {
  readonly clientName = 'HTTP'
  readonly #topicOf: (topicId: TopicInfo['topicId']) => TopicInfo | undefined
  /** Hears of jobs; undefined: they are let go, and go to others as if they had never been delivered. */
  onJobs: ((jobs: readonly DeliveredJob[]) => void) | undefined
  onEnd: (() => void) | undefined

  constructor(topicOf: (topicId: TopicInfo['topicId']) => TopicInfo | undefined) {
    this.#topicOf = topicOf
  }

  /** Of consumer groups alone. */
  assign(): void {}

  end(): void {
    this.onEnd?.()
  }

  deliver(delivery: Delivery, payloads: readonly Uint8Array[], release: () => void): void {
    try {
      this.onJobs?.(this.#jobsIn(delivery, payloads))
    } finally {
      release()
    }
  }

  /** Its leases end by themselves: silence tells nothing. */
  silentMs(): number {
    return 0
  }

  whenClosed(): void {}

  #jobsIn(delivery: Delivery, payloads: readonly Uint8Array[]): DeliveredJob[] {
    const { topicId, partition, leaseId, deadline, batches } = delivery
    const topic = this.#topicOf(topicId)
    // It has just been deleted, and its jobs with it.
    if (topic === undefined) return []
    const bytes = Buffer.concat(payloads)
    const counts = new Map(delivery.counts.map(({ offset, count }) => [offset, count]))
    const jobs: DeliveredJob[] = []
    let position = 0
    for (const { baseOffset, baseTimestamp, appendTime, recordCount, payloadBytes } of batches) {
      const payload = bytes.subarray(position, position + payloadBytes)
      position += payloadBytes
      const place: BatchPlace = {
        ...topic,
        topic: topic.name,
        partition,
        baseOffset,
        baseTimestamp,
        appendTime,
      }
      const write: (record: WireRecord) => string = readableWriter(place)
      for (const record of decodeRecords(payload, recordCount)) {
        const offset = baseOffset + record.offsetDelta
        const at = { topicId, partition, leaseId, offset }
        jobs.push({ at, deadline, deliveryCount: (counts.get(offset) ?? 0) + 1, record: write(record) })
      }
    }
    return jobs
  }
}
