import type { RequestId } from '../../protocol/ids.js'
import type { AnswerRow } from '../manifest/rows.js'

// Part of the state's definition, so constants.
export const ANSWERS_MAX = 65_536
export const ANSWER_KEPT_MS = 600_000
/** By so much at most an answer ages from one atomic write to the next: a clock that jumps ahead must not end retries under way. */
export const ANSWER_STEP_MS_MAX = 10_000
/** Of all answers together: one that names thousands of duplicates weighs what thousands of others do. */
export const ANSWERS_BYTES_MAX = 64 * 1024 * 1024
const ANSWER_OVERHEAD_BYTES = 200
const LIST_BYTES = 48
const VALUE_BYTES = 8

/**
 * The answers of the newest atomic writes, so that a retry gets the first one. How old one is follows from the times of those after
 * it alone, so that a state which was loaded lets go of the same as the one that was not.
 */
export class Answers {
  /** Order of the newest. */
  order = 0
  readonly #rows = new Map<RequestId, AnswerRow>()
  /** Oldest first, from `#head` on: a map finds its oldest only past all that were deleted. */
  #queue: AnswerRow[] = []
  #head = 0
  #bytes = 0
  /** Of the oldest. */
  #ageMs = 0

  get size(): number {
    return this.#rows.size
  }

  /** Memory, about: counted the same way whether an answer was just given, replayed or loaded. */
  get bytes(): number {
    return this.#bytes
  }

  get(requestId: RequestId): AnswerRow | undefined {
    return this.#rows.get(requestId)
  }

  /** Oldest first. */
  rows(): readonly AnswerRow[] {
    return this.#queue.slice(this.#head)
  }

  /** Adds the next answer; returns it and those that go for it. */
  add(answer: { requestId: RequestId; time: number; result: unknown }): {
    added: AnswerRow
    evicted: readonly AnswerRow[]
  } {
    const evicted: AnswerRow[] = []
    const namesake = this.#rows.get(answer.requestId)
    if (namesake !== undefined) {
      const others = this.rows().filter((row) => row !== namesake)
      this.#clear()
      for (const row of others) this.load(row)
      evicted.push(namesake)
    }
    const added: AnswerRow = { ...answer, order: ++this.order }
    this.load(added)
    for (let oldest = this.#queue[this.#head]; oldest !== undefined; oldest = this.#queue[this.#head]) {
      const isTooMuch = this.size > ANSWERS_MAX || (this.#bytes > ANSWERS_BYTES_MAX && oldest !== added)
      if (!isTooMuch && this.#ageMs <= ANSWER_KEPT_MS) break
      this.#head++
      this.#bytes -= bytesOf(oldest)
      this.#ageMs -= stepMs(oldest, this.#queue[this.#head])
      this.#rows.delete(oldest.requestId)
      evicted.push(oldest)
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    return { added, evicted }
  }

  /** Puts one behind the others, in the order of their orders. */
  load(row: AnswerRow): void {
    this.#ageMs += stepMs(this.#queue[this.#queue.length - 1], row)
    this.#rows.set(row.requestId, row)
    this.#queue.push(row)
    this.#bytes += bytesOf(row)
  }

  #clear(): void {
    this.#rows.clear()
    this.#queue = []
    this.#head = 0
    this.#bytes = 0
    this.#ageMs = 0
  }
}

function stepMs(older: AnswerRow | undefined, newer: AnswerRow | undefined): number {
  if (older === undefined || newer === undefined) return 0
  return Math.min(Math.max(0, newer.time - older.time), ANSWER_STEP_MS_MAX)
}

const bytesOf = ({ result }: AnswerRow): number => ANSWER_OVERHEAD_BYTES + bytesIn(result)

function bytesIn(value: unknown): number {
  if (!Array.isArray(value)) return VALUE_BYTES
  let bytes = LIST_BYTES
  for (const each of value) bytes += bytesIn(each)
  return bytes
}
