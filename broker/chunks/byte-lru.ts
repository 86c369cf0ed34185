/** Values by key, at most `bytesMax` of them; the least recently used go first. */
export class ByteLru<Value extends { readonly bytes: number }> {
  readonly #bytesMax: number
  readonly #values = new Map<string, Value>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get(key: string): Value | undefined {
    const value = this.#values.get(key)
    if (value === undefined) return undefined
    this.#values.delete(key)
    this.#values.set(key, value)
    return value
  }

  /** A value larger than the whole cache is not kept. */
  set(key: string, value: Value): void {
    this.delete(key)
    if (value.bytes > this.#bytesMax) return
    this.#values.set(key, value)
    this.#bytes += value.bytes
    for (const oldest of this.#values.keys()) {
      if (this.#bytes <= this.#bytesMax) return
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    const value = this.#values.get(key)
    if (value === undefined) return
    this.#values.delete(key)
    this.#bytes -= value.bytes
  }
}
