import type { EventOf, HistoryEvent, Partition, Seen } from './history.js'

/** A value at an offset, and the event that showed it first. */
export interface Sighting {
  readonly log: PartitionLog
  readonly offset: number
  readonly value: string
  readonly event: HistoryEvent
}

/** Two events that cannot both be true of an offset; undefined: there is no record. */
export interface Conflict {
  readonly offset: number
  readonly first: Sighting
  readonly value: string | undefined
  readonly event: HistoryEvent
}

/** The last word on a partition: what is in [start, end). */
export interface FinalLog {
  readonly start: number
  end: number
  readonly events: EventOf<'log'>[]
}

/** So many missing offsets say the same as all of them. */
const GAP_OFFSETS_MAX = 100_000

/** All that was seen of one partition of one incarnation of a topic. */
export class PartitionLog implements Partition {
  readonly topicId: string
  readonly partition: number
  /** For messages. */
  readonly name: string
  readonly #isCompacted: boolean
  readonly seen = new Map<number, Sighting>()
  readonly conflicts: Conflict[] = []
  /** Offsets that a reader passed without a record, with the first event that said so. */
  readonly absent = new Map<number, HistoryEvent>()
  /** Answers to where the partition starts and ends, those of `final` not among them. */
  readonly bounds: EventOf<'bounds'>[] = []
  final: FinalLog | undefined

  constructor({ topicId, partition }: Partition, topic: EventOf<'topic'> | undefined) {
    this.topicId = topicId
    this.partition = partition
    this.name = `${topic?.name ?? topicId} ${partition}`
    this.#isCompacted = topic?.compacted ?? false
  }

  /** A record that is new here; undefined when it was seen before. */
  see(offset: number, value: string, event: HistoryEvent): Sighting | undefined {
    const first = this.seen.get(offset)
    if (first === undefined) {
      const sighting = { log: this, offset, value, event }
      this.seen.set(offset, sighting)
      return sighting
    }
    if (first.value !== value) this.conflicts.push({ offset, first, value, event })
    return undefined
  }

  /** What of [from, next) is not among the records is not there. */
  passed(
    { from, next, records }: { from: number; next: number; records: readonly Seen[] },
    event: HistoryEvent,
  ): void {
    if (this.#isCompacted) return
    let due = from
    for (const [offset] of records) {
      if (offset > due) this.#missing(due, offset, event)
      due = offset + 1
    }
    if (next > due) this.#missing(due, next, event)
  }

  #missing(from: number, to: number, event: HistoryEvent): void {
    const end = Math.min(to, from + GAP_OFFSETS_MAX)
    for (let offset = from; offset < end; offset++) {
      if (!this.absent.has(offset)) this.absent.set(offset, event)
    }
  }

  /** A piece of the final log. */
  finish(event: EventOf<'log'>): void {
    this.final ??= { start: event.startOffset, end: event.startOffset, events: [] }
    this.final.end = Math.max(this.final.end, event.endOffset)
    this.final.events.push(event)
  }

  /** Whether the final log must hold the offset, if it ever held a record. */
  isFinal(offset: number): boolean {
    return this.final !== undefined && offset >= this.final.start
  }

  /** An offset that was passed as empty by one and read by another: known once everything is. */
  compareAbsent(): void {
    for (const [offset, event] of this.absent) {
      const first = this.seen.get(offset)
      if (first !== undefined) this.conflicts.push({ offset, first, value: undefined, event })
    }
  }
}
