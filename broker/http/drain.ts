/** The requests under way, and the end of them: once it has begun nothing new is written and nobody waits for records. */
export class Drain {
  #requests = 0
  #isDraining = false
  readonly #waiting = new Set<() => void>()
  #idle: (() => void) | undefined

  get isDraining(): boolean {
    return this.#isDraining
  }

  /** Requests that are not answered. */
  get requests(): number {
    return this.#requests
  }

  begin(): void {
    this.#requests++
  }

  end(): void {
    this.#requests--
    if (this.#requests === 0) this.#idle?.()
  }

  /** Calls back once, when the drain begins; at once, if it has. Returns how to take that back. */
  whenDraining(hurry: () => void): () => void {
    if (this.#isDraining) {
      hurry()
      return () => {}
    }
    const waiting = (): void => hurry()
    this.#waiting.add(waiting)
    return () => void this.#waiting.delete(waiting)
  }

  /** Resolves when no request is under way any more. */
  async start(): Promise<void> {
    this.#isDraining = true
    const hurried = [...this.#waiting]
    this.#waiting.clear()
    for (const hurry of hurried) hurry()
    if (this.#requests === 0) return
    await new Promise<void>((resolve) => {
      this.#idle = resolve
    })
  }
}
