import type { MillraceError } from '../protocol/error-codes.js'

interface Waiter {
  readonly bytes: number
  readonly admit: () => void
  readonly refuse: (error: MillraceError) => void
}

/** The bytes that a producer may hold. Whoever waits for room is let in in order, and nobody passes the queue. */
export class BufferRoom {
  readonly #bytesMax: number
  readonly #waiters = new Set<Waiter>()
  #bytes = 0
  #isAdmitting = false

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get waiting(): number {
    return this.#waiters.size
  }

  /** Takes the room, if it is there and nobody waits for it. */
  tryTake(bytes: number): boolean {
    if (this.#waiters.size > 0 || !this.#fits(bytes)) return false
    this.#bytes += bytes
    return true
  }

  /** For whoever has just been admitted: takes more before the next in the queue. */
  tryTakeMore(bytes: number): boolean {
    if (!this.#fits(bytes)) return false
    this.#bytes += bytes
    return true
  }

  /** Takes the room as soon as it is this one's turn; returns how to leave the queue. */
  take(bytes: number, admit: () => void, refuse: (error: MillraceError) => void): () => void {
    const waiter = { bytes, admit, refuse }
    this.#waiters.add(waiter)
    this.#admit()
    return () => {
      if (this.#waiters.delete(waiter)) this.#admit()
    }
  }

  release(bytes: number): void {
    this.#bytes -= bytes
    this.#admit()
  }

  refuseAll(error: MillraceError): void {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const waiter of waiters) waiter.refuse(error)
  }

  /** A record larger than the whole room is let in alone. */
  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax
  }

  #admit(): void {
    // Not re-entrant: who is admitted may release.
    if (this.#isAdmitting) return
    this.#isAdmitting = true
    for (const waiter of this.#waiters) {
      if (!this.#fits(waiter.bytes)) break
      this.#waiters.delete(waiter)
      this.#bytes += waiter.bytes
      waiter.admit()
    }
    this.#isAdmitting = false
  }
}
