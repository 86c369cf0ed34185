import { CursorHistory, type GivenAck } from './cursor-history.js'
import type { CursorAck, EventOf, HistoryEvent, JobAck, Partition, Seen } from './history.js'
import { PartitionLog, type Sighting } from './partition-log.js'
import { QueueHistory, type Settlement } from './queue-history.js'
import { type AskedRecord, Request, type Write } from './request.js'

const NEVER = Number.POSITIVE_INFINITY

/** A history, sorted by what it is about: all that rules look things up in. Built in one pass over the events. */
export class Observed {
  readonly events: readonly HistoryEvent[]
  readonly topics = new Map<string, EventOf<'topic'>>()
  readonly gone = new Map<string, EventOf<'topicGone'>>()
  readonly producers: EventOf<'producer'>[] = []
  readonly writes: Write[] = []
  /** By partition. */
  readonly deletions = new Map<string, Request<EventOf<'deleteBefore'>>[]>()
  readonly logs = new Map<string, PartitionLog>()
  /** Consumer groups; observed cursors of work queues, too. */
  readonly cursors = new Map<string, CursorHistory>()
  readonly queues = new Map<string, QueueHistory>()
  readonly groupsGone = new Map<string, EventOf<'groupGone'>>()
  /** Members that went away and came back, in their order. */
  readonly absences: EventOf<'memberAway' | 'memberBack'>[] = []
  /** Everything that was read, in its order. */
  readonly readings: EventOf<'read' | 'given' | 'log'>[] = []
  /** By partition. */
  readonly streamEnds = new Map<string, EventOf<'streamEnd'>[]>()
  /** By URL. */
  readonly chunks = new Map<string, EventOf<'chunk' | 'chunkGone'>[]>()
  readonly deliveriesMax = new Map<string, number>()
  /** Where each value was seen first, in what clients write; `again`: where it was seen, too. */
  readonly sightings = new Map<string, Sighting>()
  readonly again: Sighting[] = []
  readonly #asked = new Map<string, AskedRecord | AskedRecord[]>()
  readonly #requests = new Map<number, Request>()

  constructor(events: readonly HistoryEvent[]) {
    this.events = events
    for (const event of events) this.#take(event)
    for (const log of this.logs.values()) log.compareAbsent()
    for (const { acks } of this.cursors.values()) this.#whenDone(acks)
    for (const { jobs } of this.queues.values()) {
      for (const { settlements } of jobs.values()) this.#whenDone(settlements)
    }
  }

  log(place: Partition): PartitionLog {
    const key = placeKey(place)
    let log = this.logs.get(key)
    if (log === undefined) {
      log = new PartitionLog(place, this.topics.get(place.topicId))
      this.logs.set(key, log)
    }
    return log
  }

  /** Every time that somebody asked for this value to be written. */
  asked(value: string): readonly AskedRecord[] {
    const asked = this.#asked.get(value)
    return asked === undefined ? [] : Array.isArray(asked) ? asked : [asked]
  }

  /** Whether records may go that a cursor has not passed: by age, size, or somebody's wish. */
  mayPassCursors(place: Partition): boolean {
    return (this.topics.get(place.topicId)?.expires ?? false) || this.deletions.has(placeKey(place))
  }

  #take(event: HistoryEvent): void {
    switch (event.type) {
      case 'topic':
        this.topics.set(event.topicId, event)
        return
      case 'topicGone':
        this.gone.set(event.topicId, event)
        return
      case 'producer':
        this.producers.push(event)
        return
      case 'write':
        this.#write(event)
        return
      case 'ack':
        this.#ack(this.#ask(event), event)
        return
      case 'settle':
        this.#settle(this.#ask(event), event)
        return
      case 'reset':
        this.#cursor(event.group, event).resets.push(this.#ask(event))
        return
      case 'deleteBefore':
        entry(this.deletions, placeKey(event), () => []).push(this.#ask(event))
        return
      case 'written':
      case 'done':
      case 'refused':
      case 'unknown':
        this.#end(event)
        return
      case 'memberAway':
      case 'memberBack':
        this.absences.push(event)
        return
      case 'read':
        this.readings.push(event)
        this.#sawAll(event, event.records)
        this.log(event).passed(event, event)
        return
      case 'bounds':
        this.log(event).bounds.push(event)
        return
      case 'log': {
        const { startOffset: from, endOffset: next, records } = event
        this.readings.push(event)
        this.#sawAll(event, records)
        this.log(event).passed({ from, next, records }, event)
        this.log(event).finish(event)
        return
      }
      case 'assigned':
        this.#cursor(event.group, event).assigned.push(event)
        return
      case 'given':
        this.readings.push(event)
        this.#sawAll(event, event.records)
        this.log(event).passed(event, event)
        this.#cursor(event.group, event).given.push(event)
        return
      case 'cursor':
        this.#cursor(event.group, event).observed.push(event)
        return
      case 'groupGone':
        this.groupsGone.set(event.group, event)
        return
      case 'streamEnd':
        entry(this.streamEnds, placeKey(event), () => []).push(event)
        return
      case 'chunk':
      case 'chunkGone':
        entry(this.chunks, event.url, () => []).push(event)
        return
      case 'queue':
        this.deliveriesMax.set(`${event.group}|${event.topicId}`, event.maxDeliveries)
        return
      case 'leased':
        if (event.value !== undefined) this.#sawAll(event, [[event.offset, event.value]])
        this.#queue(event.group, event).job(event.offset).leases.push(event)
        return
      default:
    }
  }

  #ask<A extends Request['asked']>(asked: A): Request<A> {
    const request = new Request(asked)
    this.#requests.set(asked.op, request)
    return request
  }

  #write(event: EventOf<'write'>): void {
    const write = this.#ask(event)
    this.writes.push(write)
    event.records.forEach((record, position) => {
      const asked = { write, position, record }
      const before = this.#asked.get(record.value)
      if (before === undefined) this.#asked.set(record.value, asked)
      else if (Array.isArray(before)) before.push(asked)
      else this.#asked.set(record.value, [before, asked])
    })
    for (const ack of event.acks ?? []) {
      if (ack.kind === 'cursor') this.#ack(write, ack)
      else this.#settle(write, ack)
    }
  }

  #ack(request: Request, ack: Omit<CursorAck, 'kind'>): void {
    const { member, generation, offset } = ack
    this.#cursor(ack.group, ack).acks.push({ request, member, generation, offset, doneIndex: NEVER })
  }

  #settle(
    request: Request,
    ack: Omit<JobAck, 'kind'> & {
      readonly kind: JobAck['kind'] | Settlement['kind']
      untilMs?: number | undefined
    },
  ): void {
    const { member, leaseId, untilMs } = ack
    const kind = ack.kind === 'job' ? 'ack' : ack.kind
    const settlement = { request, kind, member, leaseId, untilMs, doneIndex: NEVER }
    this.#queue(ack.group, ack).job(ack.offset).settlements.push(settlement)
  }

  #end(event: EventOf<'written' | 'done' | 'refused' | 'unknown'>): void {
    const request = this.#requests.get(event.op)
    if (request === undefined) throw new Error(`event ${event.index}: nobody asked for request ${event.op}`)
    if (request.end !== undefined)
      throw new Error(`event ${event.index}: request ${event.op} has ended before`)
    request.finish(event)
  }

  /** An ack is done when it was answered, or when a record that was written with it is seen. */
  #whenDone(acks: readonly (GivenAck | Settlement)[]): void {
    for (const ack of acks) {
      const { asked, isDone, endIndex } = ack.request
      if (isDone) ack.doneIndex = endIndex
      if (asked.type !== 'write') continue
      for (const { value } of asked.records) {
        ack.doneIndex = Math.min(ack.doneIndex, this.sightings.get(value)?.event.index ?? NEVER)
      }
    }
  }

  #sawAll(event: HistoryEvent & Partition, records: readonly Seen[]): void {
    const log = this.log(event)
    const topic = this.topics.get(event.topicId)
    // Its records are copies, each at a place of its own.
    const isCopy = topic?.writtenByBroker ?? false
    const ownFrom = topic?.fork?.offset ?? 0
    for (const [offset, value] of records) {
      const sighting = log.see(offset, value, event)
      if (sighting === undefined || isCopy || offset < ownFrom) continue
      if (this.sightings.has(value)) this.again.push(sighting)
      else this.sightings.set(value, sighting)
    }
  }

  #cursor(group: string, place: Partition): CursorHistory {
    return entry(this.cursors, groupKey(group, place), () => new CursorHistory(group, place))
  }

  #queue(group: string, place: Partition): QueueHistory {
    return entry(this.queues, groupKey(group, place), () => new QueueHistory(group, place))
  }
}

export const placeKey = ({ topicId, partition }: Partition): string => `${topicId}/${partition}`

export const groupKey = (group: string, place: Partition): string => `${group}|${placeKey(place)}`

function entry<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}
