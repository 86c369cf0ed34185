/** First in, first out. What was taken is let go of bit by bit, so that a long queue costs no more per item than a short one. */
export class Fifo<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    // Empty, or worth the copying.
    if (this.#head === this.#items.length) this.#reset([])
    else if (this.#head > 1024 && this.#head * 2 > this.#items.length)
      this.#reset(this.#items.slice(this.#head))
    return item
  }

  /** Takes all, in order. */
  *drain(): Generator<T> {
    for (let item = this.shift(); item !== undefined; item = this.shift()) yield item
  }

  #reset(items: (T | undefined)[]): void {
    this.#items = items
    this.#head = 0
  }
}
