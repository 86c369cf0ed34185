import type { Fact, HistoryEvent } from './history.js'

/** Gives events their order. Several may be recorded side by side in one process, never in two. */
export class HistoryRecorder {
  readonly events: HistoryEvent[] = []
  readonly #nowMs: (() => number) | undefined
  #ops = 0

  /** `nowMs`: the clock for `atMs`, the broker's or one in step with it; without one nothing is judged by time. */
  constructor({ nowMs }: { readonly nowMs?: () => number } = {}) {
    this.#nowMs = nowMs
  }

  /** The index that the next event gets: what is observed from now on is not before it. */
  get next(): number {
    return this.events.length
  }

  /** A number for a request. */
  op(): number {
    return ++this.#ops
  }

  /** Records it as having happened now. Returns its index. */
  record(fact: Fact): number {
    const index = this.events.length
    const head = this.#nowMs === undefined ? { index } : { index, atMs: this.#nowMs() }
    this.events.push({ ...head, ...fact })
    return index
  }
}
