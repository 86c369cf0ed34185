import type { EventOf, HistoryEvent, Partition } from './history.js'
import type { Request } from './request.js'
import { RisingMax } from './rising-max.js'

/** An acknowledgement of a consumer group, alone or in an atomic write. */
export interface GivenAck {
  readonly request: Request
  readonly member: string
  readonly generation: number | undefined
  readonly offset: number
  /** Behind it the ack is known to be done; infinite when that is never known. */
  doneIndex: number
}

interface Origin {
  readonly offset: number
  readonly event: HistoryEvent
}

/** All that happened to one group in one partition. */
export class CursorHistory {
  readonly group: string
  readonly place: Partition
  readonly acks: GivenAck[] = []
  readonly resets: Request<EventOf<'reset'>>[] = []
  readonly assigned: EventOf<'assigned'>[] = []
  readonly given: EventOf<'given'>[] = []
  readonly observed: EventOf<'cursor'>[] = []
  // Found when they are first asked for: the history is whole by then.
  #origin: { readonly found: Origin | undefined } | undefined
  #knownSince: number | undefined
  #done: RisingMax<GivenAck> | undefined
  #asked: RisingMax<GivenAck | Request<EventOf<'reset'>>> | undefined

  constructor(group: string, place: Partition) {
    this.group = group
    this.place = place
  }

  /** The first place at which the group is known to have been. */
  get origin(): Origin | undefined {
    this.#origin ??= { found: this.#findOrigin() }
    return this.#origin.found
  }

  #findOrigin(): Origin | undefined {
    const candidates = [
      this.assigned.find(({ cursor }) => cursor !== undefined),
      this.observed[0],
      this.given[0],
    ].filter((event) => event !== undefined)
    const event = candidates.sort((a, b) => a.index - b.index)[0]
    if (event === undefined) return undefined
    if (event.type === 'given') return { offset: event.from, event }
    return { offset: (event.type === 'assigned' ? event.cursor : event.offset) ?? 0, event }
  }

  /** From this index on the group is known to hold a place. */
  get knownSince(): number {
    this.#knownSince ??= this.acks.reduce(
      (index, { doneIndex }) => Math.min(index, doneIndex),
      this.origin?.event.index ?? Number.POSITIVE_INFINITY,
    )
    return this.#knownSince
  }

  /**
   * The cursor cannot be below this when the broker decides something after `since` and before `until`, and the ack that says so. A
   * reset in between may come before it.
   */
  lowest(since: number, until = since): { readonly offset: number; readonly ack: GivenAck | undefined } {
    const resets = this.lastResets(until)
    if (resets.length === 0) {
      this.#done ??= new RisingMax(
        this.acks.filter(({ doneIndex }) => doneIndex < Number.POSITIVE_INFINITY),
        { at: ({ doneIndex }) => doneIndex, offset: ({ offset }) => offset },
      )
      const ack = this.#done.before(since)
      return { offset: ack?.offset ?? 0, ack }
    }
    const resetIndex = endOf(resets)
    if (resetIndex >= since) return { offset: 0, ack: undefined }
    let best: GivenAck | undefined
    for (const ack of this.acks) {
      if (ack.doneIndex >= since || ack.request.asked.index < resetIndex) continue
      if (best === undefined || ack.offset > best.offset) best = ack
    }
    const reset = Math.min(...resets.map(({ asked: { offset } }) => offset))
    return { offset: Math.max(reset, best?.offset ?? 0), ack: best }
  }

  /** The cursor cannot be above this at an event of this index: so much was asked for by then, or was there in the beginning. */
  highest(index: number): number {
    this.#asked ??= new RisingMax(
      [
        ...this.acks.filter(({ request }) => !request.isRefused),
        ...this.resets.filter((reset) => !reset.isRefused),
      ],
      {
        at: (one) => ('asked' in one ? one.asked.index : one.request.asked.index),
        offset: (one) => ('asked' in one ? (one.asked.upTo ?? one.asked.offset) : one.offset),
      },
    )
    const last = this.#asked.before(index)
    const asked =
      last === undefined ? 0 : 'asked' in last ? (last.asked.upTo ?? last.asked.offset) : last.offset
    return Math.max(asked, this.origin?.offset ?? 0)
  }

  /** The last reset that was asked for before the index and may have been done, and those that may have come after it. */
  lastResets(index: number): Request<EventOf<'reset'>>[] {
    const resets = this.resets.filter((reset) => reset.asked.index < index && !reset.isRefused)
    const last = resets.at(-1)
    return resets.filter((reset) => reset === last || endOf([reset]) > (last?.asked.index ?? 0))
  }
}

/** Behind this all of them are done; one that nobody knows the end of may yet be. */
export const endOf = (resets: readonly Request<EventOf<'reset'>>[]): number =>
  Math.max(...resets.map(({ isDone, endIndex }) => (isDone ? endIndex : Number.POSITIVE_INFINITY)))
