/**
 * Which places of a page file are free. A page may be overwritten only when neither the manifest nor the newest verified
 * snapshot refers to it: what is released waits for a snapshot that was taken without it.
 */
export class PageSlots {
  readonly #free: number[] = []
  /** In the order of their sequences. */
  #released: { readonly slot: number; readonly sequence: number }[] = []
  #end = 0

  /** Places in the file, used or not. */
  get end(): number {
    return this.#end
  }

  /**
   * At a start: of the `count` places in the file those in `used` are taken. The others wait: the snapshot may refer to
   * them. `sequence`: of the manifest.
   */
  load({ count, used, sequence }: { count: number; used: Iterable<number>; sequence: number }): void {
    const taken = new Set(used)
    this.#end = count
    for (let slot = 0; slot < count; slot++) if (!taken.has(slot)) this.#released.push({ slot, sequence })
  }

  /** At a start: `named` are those that the newest verified snapshot refers to. */
  reuseBut(named: ReadonlySet<number>): void {
    const kept = this.#released.filter(({ slot }) => named.has(slot))
    for (const { slot } of this.#released) if (!named.has(slot)) this.#free.push(slot)
    this.#released = kept
    this.#sort()
  }

  /** A place for a page. */
  take(): number {
    return this.#free.pop() ?? this.#end++
  }

  /** The manifest of `sequence` no longer refers to a place. Sequences never fall. */
  release(slot: number, sequence: number): void {
    this.#released.push({ slot, sequence })
  }

  /** There is a verified snapshot of `sequence`, and the older ones will not be used again. */
  reuse(sequence: number): void {
    let count = 0
    for (const released of this.#released) {
      if (released.sequence > sequence) break
      this.#free.push(released.slot)
      count++
    }
    this.#released = this.#released.slice(count)
    this.#sort()
  }

  /** From the front of the file on: pages of one flush stand together. */
  #sort(): void {
    this.#free.sort((a, b) => b - a)
  }
}
