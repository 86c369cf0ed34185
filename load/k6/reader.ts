import { crc32 } from '#crc32'
import {
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  entryPayload,
  readEntryHeader,
} from '../../protocol/entry.js'
import {
  credit,
  deliver,
  listOffsets,
  OFFSET_AT,
  offsetsListed,
  subscribe,
  subscriptionEnded,
} from '../../protocol/messages/index.js'
import type { LoadClock } from './clock.js'
import type { LoadTopic } from './load-topic.js'
import type { Measures } from './measures.js'
import { PartitionCheck } from './partition-check.js'
import type { Session } from './session.js'

export interface ReaderOptions {
  readonly session: Session
  readonly topic: LoadTopic
  readonly measures: Measures
  readonly clock: LoadClock
  readonly from: 'earliest' | 'latest'
  /** `payloads` computes the CRC of every payload, too, which costs an interpreter much. */
  readonly verify: 'headers' | 'payloads'
}

const CREDIT_BYTES = 4 * 2 ** 20
const CATCH_UP_MS_MAX = 30_000

interface Subscription {
  readonly partition: number
  readonly check: PartitionCheck
  unreturnedBytes: number
}

/** Follows every partition of a topic and checks each entry that comes. */
export class LoadReader {
  readonly #options: ReaderOptions
  readonly #subscriptions = new Map<number, Subscription>()
  #startedAt = 0
  #ends: readonly number[] | undefined
  #caughtUp: () => void = () => {}

  constructor(options: ReaderOptions) {
    this.#options = options
  }

  start(): void {
    const { session, clock } = this.#options
    this.#startedAt = clock.now()
    session.on(deliver, (frame) => this.#deliver(deliver.read(frame)))
    session.on(subscriptionEnded, (frame) => {
      const { code, message } = subscriptionEnded.read(frame)
      this.#options.measures.wrong('refused', `a subscription ended: ${code}: ${message}`)
    })
    this.#listOffsets(this.#options.from, (offsets) => {
      for (let partition = 0; partition < offsets.length; partition++) {
        this.#subscribe(partition, offsets[partition]!)
      }
    })
  }

  /** Goes on until it has all that is durable now, then calls `done`; what is missing after a while is reported. */
  stop(done: () => void): void {
    const stopWaiting = this.#options.clock.after(CATCH_UP_MS_MAX, () => {
      this.#options.measures.wrong('behind', `${this.#missing()} records were acknowledged and have not come`)
      this.#caughtUp()
    })
    this.#caughtUp = () => {
      this.#caughtUp = () => {}
      stopWaiting()
      done()
    }
    this.#listOffsets('latest', (ends) => {
      this.#ends = ends
      this.#checkCaughtUp()
    })
  }

  #listOffsets(at: 'earliest' | 'latest', then: (offsets: readonly number[]) => void): void {
    const { session, topic } = this.#options
    const queries = Array.from({ length: topic.partitions }, (_, partition) => ({
      partition,
      at: OFFSET_AT[at],
      time: 0,
    }))
    session.ask(
      (correlationId) => listOffsets.write({ correlationId, topicId: topic.topicId, queries }),
      (frame) => then(offsetsListed.read(frame).offsets.map(({ offset }) => offset)),
    )
  }

  #subscribe(partition: number, offset: number): void {
    const { session, topic, measures } = this.#options
    const subscriptionId = partition + 1
    const check = new PartitionCheck({ name: `${topic.name}/${partition}`, offset, measures })
    this.#subscriptions.set(subscriptionId, { partition, check, unreturnedBytes: 0 })
    session.ask(
      (correlationId) =>
        subscribe.write({
          correlationId,
          subscriptionId,
          topicId: topic.topicId,
          partition,
          offset,
          creditBytes: CREDIT_BYTES,
        }),
      () => {},
    )
  }

  #deliver({ subscriptionId, entries }: { subscriptionId: number; entries: Uint8Array }): void {
    const { measures, session } = this.#options
    const subscription = this.#subscriptions.get(subscriptionId)
    if (subscription === undefined) {
      measures.wrong('corrupt', `there is no subscription ${subscriptionId}`)
      return
    }
    for (let at = 0; at < entries.length; ) {
      const fault = entryHeaderFault(entries, at)
      if (fault !== undefined) {
        measures.wrong('corrupt', fault)
        return
      }
      const header = readEntryHeader(entries, at)
      this.#entry(subscription, header, entryPayload(entries, header, at))
      at += entryBytes(header)
    }
    subscription.unreturnedBytes += entries.length
    if (subscription.unreturnedBytes >= CREDIT_BYTES / 2) {
      session.tell(credit.write({ subscriptionId, bytes: subscription.unreturnedBytes }))
      subscription.unreturnedBytes = 0
    }
    this.#checkCaughtUp()
  }

  #entry({ partition, check }: Subscription, header: EntryHeader, payload: Uint8Array): void {
    const { topic, measures, clock, verify } = this.#options
    if (header.topicId !== topic.topicId || header.partition !== partition) {
      measures.wrong('corrupt', `an entry of partition ${header.partition} came for ${partition}`)
    } else if (payload.length !== header.payloadBytes) {
      measures.wrong('corrupt', `an entry of partition ${partition} is cut short`)
    } else if (verify === 'payloads' && crc32(payload) !== header.payloadCrc) {
      measures.wrong('corrupt', `the CRC of a payload at ${partition}@${header.baseOffset} does not match`)
    }
    measures.consumed(check.take(header))
    // What was there before would measure its age.
    if (header.baseTimestamp >= this.#startedAt) measures.delivered(clock.now() - header.baseTimestamp)
  }

  #missing(): number {
    let missing = 0
    for (const { partition, check } of this.#subscriptions.values()) {
      missing += Math.max(0, (this.#ends?.[partition] ?? 0) - check.nextOffset)
    }
    return missing
  }

  #checkCaughtUp(): void {
    if (this.#ends !== undefined && this.#missing() === 0) this.#caughtUp()
  }
}
