import { countWork } from './pending-work.js'

/**
 * The system calls of one life of a broker. At its end no further one begins, and none of those under way returns to the
 * broker, though the kernel may finish them: so it is when a process is killed.
 */
export class MortalOperations {
  readonly #underWay = new Set<Promise<unknown>>()
  #isOver = false

  get isOver(): boolean {
    return this.#isOver
  }

  run<T>(begin: () => Promise<T>): Promise<T> {
    if (this.#isOver) return forever()
    const operation = countWork(begin())
    this.#underWay.add(operation)
    return new Promise<T>((resolve, reject) => {
      operation.then(
        (value) => {
          this.#underWay.delete(operation)
          if (!this.#isOver) resolve(value)
        },
        (error: unknown) => {
          this.#underWay.delete(operation)
          if (!this.#isOver) reject(error)
        },
      )
    })
  }

  end(): void {
    this.#isOver = true
  }

  /** Resolves when the kernel has done with what was under way at the end. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay)
  }
}

/** What a process that is gone waits for. */
export const forever = <T>(): Promise<T> => new Promise<T>(() => {})
