/** Lets what concerns one name happen one after the other, in the order in which it was asked for. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Runs when all that was asked for the name before is over, whether it went well or not. */
  run<T>(name: string, task: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name)
    const done = before === undefined ? task() : before.then(task)
    const over: Promise<void> = done.then(
      () => this.#over(name, over),
      () => this.#over(name, over),
    )
    this.#last.set(name, over)
    return done
  }

  #over(name: string, turn: Promise<void>): void {
    if (this.#last.get(name) === turn) this.#last.delete(name)
  }
}
