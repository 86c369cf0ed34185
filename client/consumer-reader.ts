import type { ConsumerPartition } from './consumer-partition.js'
import type { Turn } from './turn.js'

/**
 * Whose turn it is: the partitions that have something to give, batch by batch in turn, and the one place where the
 * application waits.
 */
export class ConsumerReader {
  readonly #turn: Turn
  /** Perhaps with something to take; the first is next. */
  readonly #ready = new Set<ConsumerPartition>()
  #ending: { readonly error: unknown } | 'closed' | undefined
  #wake: (() => void) | undefined

  constructor(turn: Turn) {
    this.#turn = turn
  }

  /** There may be something to take of it. */
  arrived(partition: ConsumerPartition): void {
    if (!partition.isGiving) return
    this.#ready.add(partition)
    this.#wakeUp()
  }

  /**
   * A partition of which a record can be taken, at once or as a promise; undefined when the consuming was closed. Throws or
   * rejects with what ended it. Not re-entrant: one call at a time.
   */
  next(): ConsumerPartition | undefined | Promise<ConsumerPartition | undefined> {
    for (;;) {
      if (this.#ending === 'closed') return undefined
      if (this.#ending !== undefined) throw this.#ending.error
      const [partition] = this.#ready
      if (partition === undefined) return this.#waitForMore()
      if (!partition.isInBatch && this.#turn.isOver) return this.#nextInNextTurn()
      const isFilled = partition.isGiving && partition.fill()
      if (isFilled instanceof Promise) return this.#fillLater(partition, isFilled)
      if (isFilled) return partition
      this.#ready.delete(partition)
    }
  }

  /** Heartbeats and acknowledgements go out, and it may be that the partition is lost. */
  async #nextInNextTurn(): Promise<ConsumerPartition | undefined> {
    await this.#turn.next()
    return this.next()
  }

  async #waitForMore(): Promise<ConsumerPartition | undefined> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    return this.next()
  }

  async #fillLater(partition: ConsumerPartition, filled: Promise<boolean>) {
    // What cannot be inflated is no matter when the partition was lost meanwhile.
    await filled.catch((error: unknown) => {
      if (partition.state !== 'lost') throw error
    })
    return this.next()
  }

  /** Others go first, once its batch is given out. */
  took(partition: ConsumerPartition): void {
    if (partition.isInBatch) return
    this.#ready.delete(partition)
    this.#ready.add(partition)
  }

  /** Ends it: with an error, or as if there were no more records. The first end counts. */
  end(error?: unknown): void {
    this.#ending ??= error === undefined ? 'closed' : { error }
    this.#ready.clear()
    this.#wakeUp()
  }

  get isEnded(): boolean {
    return this.#ending !== undefined
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}
