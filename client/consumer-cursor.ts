import { type MillraceError, withOutcome } from '../protocol/error-codes.js'
import type { CommitTracker } from './commit-tracker.js'

interface Waiter {
  resolve(): void
  reject(error: MillraceError): void
}

/** How far a partition's cursor may go and how far it durably is, and who waits for that. */
export class ConsumerCursor {
  readonly #tracker: CommitTracker
  #durable: number
  /** It was sent up to here, and the answer was lost: the broker may have it there. */
  #maybeDurable = 0
  /** What was sent and is not answered yet. */
  readonly #unanswered: number[] = []
  #durableWaiters: (Waiter & { readonly next: number })[] = []
  /** By the offset of the record that is to become the lowest unfinished one. */
  readonly #lowestWaiters = new Map<number, Waiter[]>()
  #loss: MillraceError | undefined

  /** `durable`: where it is at the beginning. */
  constructor(tracker: CommitTracker, durable: number) {
    this.#tracker = tracker
    this.#durable = durable
  }

  /** Everything below is finished. */
  get floor(): number {
    return this.#tracker.floor
  }

  /** The broker has it there. */
  get durable(): number {
    return this.#durable
  }

  /** Whether something is finished and not durable. */
  get isBehind(): boolean {
    return this.#tracker.floor > this.#durable
  }

  /** Whether somebody waits for that. */
  get isAwaited(): boolean {
    return this.#durableWaiters.some(({ next }) => next <= this.#tracker.floor)
  }

  give(offset: number, next: number): void {
    this.#tracker.give(offset, next)
  }

  /** Returns whether the floor rose. */
  skip(next: number): boolean {
    const before = this.#tracker.floor
    this.#tracker.skip(next)
    return this.#tracker.floor > before
  }

  /** Returns whether the floor rose; once the partition is lost it does not. */
  finish(offset: number, next: number): boolean {
    if (this.#loss !== undefined || !this.#tracker.finish(offset, next)) return false
    const { floor } = this.#tracker
    const waiters = this.#lowestWaiters.get(floor) ?? []
    this.#lowestWaiters.delete(floor)
    for (const { resolve } of waiters) resolve()
    return true
  }

  /** Resolves when every record below this one is finished. Rejects when the partition is lost. */
  whenLowest(offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#loss !== undefined) reject(this.#loss)
      else if (this.#tracker.floor >= offset) resolve()
      else this.#lowestWaiters.set(offset, [...(this.#lowestWaiters.get(offset) ?? []), { resolve, reject }])
    })
  }

  /** Resolves when the cursor is durably there. Rejects when the partition is lost before. */
  whenDurable(next: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (next <= this.#durable) resolve()
      else if (this.#loss !== undefined) reject(this.#lossAt(next, this.#loss))
      else this.#durableWaiters.push({ next, resolve, reject })
    })
  }

  /** It is sent up to `offset`: `answered`, and then what came of it, has to follow. */
  sentAt(offset: number): void {
    this.#unanswered.push(offset)
  }

  answered(offset: number): void {
    this.#unanswered.splice(this.#unanswered.indexOf(offset), 1)
  }

  /** The broker has it there, durably. */
  durableAt(offset: number): void {
    if (offset <= this.#durable) return
    this.#durable = offset
    if (this.#durableWaiters.length === 0) return
    const waiting = this.#durableWaiters
    this.#durableWaiters = waiting.filter(({ next }) => next > offset)
    for (const { next, resolve } of waiting) if (next <= offset) resolve()
  }

  /** The partition is lost: who waits is told, but for those whose answer, up to `sent`, may still come. */
  lose(loss: MillraceError, sent: number): void {
    this.#loss ??= loss
    for (const waiters of this.#lowestWaiters.values()) for (const { reject } of waiters) reject(loss)
    this.#lowestWaiters.clear()
    const waiting = this.#durableWaiters
    this.#durableWaiters = waiting.filter(({ next }) => next <= sent)
    for (const { next, reject } of waiting) if (next > sent) reject(this.#lossAt(next, loss))
  }

  /** It was sent up to `offset`, and whether the broker took it nobody knows. */
  maybeDurableAt(offset: number): void {
    this.#maybeDurable = Math.max(this.#maybeDurable, offset)
  }

  /** An acknowledgement whose first answer was lost, or is still to come, may count, whatever a later one says. */
  #lossAt(next: number, loss: MillraceError): MillraceError {
    const maybeDurable = Math.max(this.#maybeDurable, ...this.#unanswered)
    return next <= maybeDurable ? withOutcome(loss, 'unknown') : loss
  }
}
