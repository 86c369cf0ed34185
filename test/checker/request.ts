import type {
  EventOf,
  HistoryEvent,
  OutcomeFact,
  RequestFact,
  WrittenPlace,
  WrittenRecord,
} from './history.js'

type Asked = EventOf<RequestFact['type']>
type End = EventOf<OutcomeFact['type']>

/** What was asked, and what came of it. */
export class Request<A extends Asked = Asked> {
  readonly asked: A
  end: End | undefined
  // Said once: events have many shapes, and rules ask again and again.
  /** It was answered: it is done, and stays done. */
  isDone = false
  /** It was refused: nothing of it may show. */
  isRefused = false
  /** Behind its end; a request without one never ends. */
  endIndex = Number.POSITIVE_INFINITY

  constructor(asked: A) {
    this.asked = asked
  }

  finish(end: End): void {
    this.end = end
    this.isDone = end.type === 'written' || end.type === 'done'
    this.isRefused = end.type === 'refused'
    this.endIndex = end.index
  }

  get events(): HistoryEvent[] {
    return this.end === undefined ? [this.asked] : [this.asked, this.end]
  }

  /** Where the records of an answered write are. */
  get places(): readonly WrittenPlace[] {
    return this.end?.type === 'written' ? this.end.places : []
  }
}

export type Write = Request<EventOf<'write'>>

/** One record of a write. */
export interface AskedRecord {
  readonly write: Write
  readonly position: number
  readonly record: WrittenRecord
}
