import { EventQueue, type Task } from './event-queue.js'
import type { Trace } from './trace.js'

/** Somebody whose events end with them: a life of the broker, a client's process, the world. */
export class Owner {
  readonly name: string
  isDead = false
  /** Stopped, as by SIGSTOP: what falls due before runs then. */
  stalledUntilMs = 0

  constructor(name: string) {
    this.name = name
  }
}

export interface After {
  /** What kind of event it is, for the trace. */
  readonly kind: string
  /** Which one, for the trace. */
  readonly detail?: string | number
  /** Whose it is; that of the event under way when left out. */
  readonly owner?: Owner
}

/** Events of several chains of immediates run in one turn of the real loop, which costs a system call. */
const CHAINS = 32

const realSetImmediate = globalThis.setImmediate

/**
 * All that is asynchronous in a simulation, in one queue by simulated time: whatever two events race for, the seed decides,
 * because it decides their times. An event runs with the promises and ticks that it settles, then the next one does.
 */
export class Scheduler {
  readonly world = new Owner('world')
  readonly trace: Trace
  readonly #queue = new EventQueue()
  #owner = this.world
  #nowMs = 0
  #steps = 0
  #order = 0
  #failure: { readonly error: unknown } | undefined
  readonly #beforeStep: (() => void) | undefined

  /** `beforeStep` is the world's hand: it runs before each event. */
  constructor(trace: Trace, beforeStep?: () => void) {
    this.trace = trace
    this.#beforeStep = beforeStep
  }

  /** Simulated milliseconds since the simulation began. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Events that have run. */
  get steps(): number {
    return this.#steps
  }

  /** Who is at work. */
  get owner(): Owner {
    return this.#owner
  }

  /** Runs `fn` in `ms`, unless it is cancelled or its owner dies before. */
  after(ms: number, fn: () => void, { kind, detail = 0, owner = this.#owner }: After): Task {
    const atMs = this.#nowMs + Math.max(0, ms)
    const task: Task = { atMs, order: this.#order++, fn, kind, detail, owner, isCancelled: false }
    this.#queue.push(task)
    return task
  }

  sleep(ms: number, kind = 'sleep'): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve, { kind }))
  }

  /** Notes what is no event of its own. */
  note(kind: string, detail: string | number = 0): void {
    this.trace.add({ step: this.#steps, timeMs: this.#nowMs, owner: this.#owner.name, kind, detail })
  }

  /** Ends `run` with an error: a promise that nobody looks after was broken. */
  fail(error: unknown): void {
    this.#failure ??= { error }
  }

  /** Runs events until `isDone`, or there are none left; rejects with what was given to `fail`, or what an event throws. */
  run(isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let isOver = false
      const turn = (): void => {
        if (isOver) return
        try {
          if (this.#failure !== undefined) throw this.#failure.error
          if (isDone() || !this.#step()) {
            isOver = true
            resolve()
          } else realSetImmediate(turn)
        } catch (error) {
          isOver = true
          reject(error)
        }
      }
      for (let chain = 0; chain < CHAINS; chain++) realSetImmediate(turn)
    })
  }

  #step(): boolean {
    this.#owner = this.world
    this.#beforeStep?.()
    const task = this.#next()
    if (task === undefined) return false
    this.#nowMs = task.atMs
    this.#owner = task.owner
    this.#steps++
    this.note(task.kind, task.detail)
    task.fn()
    return true
  }

  #next(): Task | undefined {
    for (;;) {
      const task = this.#queue.pop()
      if (task === undefined || task.owner.stalledUntilMs <= task.atMs) return task
      // The same object, so that whoever holds it can still cancel it.
      task.atMs = task.owner.stalledUntilMs
      this.#queue.push(task)
    }
  }
}
