import type { MemberId } from '../protocol/ids.js'
import { ACKNOWLEDGEMENT, type Acknowledgeable, type CarriedAck } from './acknowledgement.js'
import type { GivenRecord } from './consumer-partition.js'
import { illegalArgument, quiet } from './errors.js'
import type { Headers, ReadRecord } from './topic.js'

/** Where a record was first. */
export interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** A record that a consumer of a group was given. */
export type GroupRecord<R> = R & {
  /**
   * The application is done with the record. In a loop that holds for all that the partition gave before it, too. Cheap: acks are
   * gathered and sent every `ackIntervalMs`. Once the partition is lost it does nothing.
   */
  ack(): void
  /**
   * The same, and resolves once it is durable: the record is never given to the group again. Rejects with FENCED, CLOSED. Need not be
   * awaited: what ends the consuming is thrown by the loop, too.
   */
  acked(): Promise<void>
  /**
   * Aborts when the partition is lost: what is done with the record from then on, another does too. Of this record alone, and the
   * same at each look; once its ack is durable nothing aborts it any more.
   */
  readonly signal: AbortSignal
  /** For a dead letter that is replayed: where it was first. `partition` and `offset` are those of the retry topic. */
  readonly origin?: Place | undefined
} & Acknowledgeable

/** Who gives a record out, as the record knows it. */
export interface RecordHost {
  readonly membership: { readonly groupId: number; readonly memberId: MemberId }
  /** Whether a record is finished together with all before it. */
  readonly isLoop: boolean
  /** Somebody waits for what was finished. */
  hurry(): void
}

export class ConsumedRecord implements GroupRecord<ReadRecord> {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly appendTime: number
  readonly key: unknown
  readonly value: unknown
  readonly headers: Headers
  readonly #given: GivenRecord
  readonly #host: RecordHost

  constructor(record: ReadRecord, given: GivenRecord, host: RecordHost) {
    this.topic = record.topic
    this.partition = record.partition
    this.offset = record.offset
    this.timestamp = record.timestamp
    this.appendTime = record.appendTime
    this.key = record.key
    this.value = record.value
    this.headers = record.headers
    this.#given = given
    this.#host = host
  }

  get signal(): AbortSignal {
    return this.#given.signal
  }

  get origin(): Place | undefined {
    return this.#given.origin
  }

  ack(): void {
    this.#given.finish()
    // A handler is done when it returns; a loop may have all the time it likes once it has acknowledged.
    if (this.#host.isLoop) this.#given.end()
  }

  acked(): Promise<void> {
    this.ack()
    const durable = quiet(this.#given.partition.cursor.whenDurable(this.#given.next))
    this.#host.hurry()
    return durable
  }

  /** In a run it waits until the records before it are finished: the cursor must not pass them. */
  [ACKNOWLEDGEMENT](together: readonly Acknowledgeable[]): CarriedAck | Promise<CarriedAck> {
    const { partition, offset } = this.#given
    if (partition.state === 'lost') throw partition.lossError()
    if (this.#host.isLoop) return this.#carried()
    if (together.some((other) => other instanceof ConsumedRecord && this.#isBehind(other))) {
      const { topic, partition } = this
      throw illegalArgument(
        `topic "${topic}", partition ${partition}: in a run an atomic write acknowledges one record of a partition, since each waits until those before it are finished`,
      )
    }
    return partition.cursor.whenLowest(offset).then(() => this.#carried())
  }

  #isBehind(other: ConsumedRecord): boolean {
    const given = other.#given
    return given.partition === this.#given.partition && given.offset < this.#given.offset
  }

  #carried(): CarriedAck {
    const given = this.#given
    const { topicId, partition, epoch } = given.partition
    const offset = given.next
    return {
      ack: { kind: 'cursor', ...this.#host.membership, topicId, partition, epoch, offset },
      done: () => {
        given.partition.cursor.durableAt(offset)
        this.ack()
      },
      failed: () => {},
    }
  }
}
