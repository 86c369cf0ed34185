/**
 * The signals of a partition's records. Each record has its own, made when somebody looks at it: of one that all shared, Node
 * warns as soon as eleven handlers listen at once.
 */
export class RecordSignals {
  /** By the record's offset, in the order in which they were asked for. */
  readonly #controllers = new Map<number, AbortController>()
  #loss: { readonly reason: unknown } | undefined

  /** A new one, for the record at `offset`; `durable`: the cursor, below which nothing is to be aborted. */
  newAt(offset: number, durable: number): AbortSignal {
    if (this.#loss !== undefined) return AbortSignal.abort(this.#loss.reason)
    this.#forgetBelow(durable)
    const controller = new AbortController()
    this.#controllers.set(offset, controller)
    return controller.signal
  }

  /** Those at the front: so as many are kept as there are records without a durable ack. */
  #forgetBelow(durable: number): void {
    for (const offset of this.#controllers.keys()) {
      if (offset >= durable) return
      this.#controllers.delete(offset)
    }
  }

  /** The partition is lost; `durable`: the cursor. */
  abort(reason: unknown, durable: number): void {
    this.#loss ??= { reason }
    const controllers = [...this.#controllers]
    this.#controllers.clear()
    for (const [offset, controller] of controllers) if (offset >= durable) controller.abort(reason)
  }

  /** How many are kept. */
  get count(): number {
    return this.#controllers.size
  }
}
