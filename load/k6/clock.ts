/** Time as k6 has it: its timers come from a module, and `performance` is not there. */
export interface LoadClock {
  /** Milliseconds since 1970. */
  now(): number
  /** Runs `task` once, unless the returned function is called before: a timer left behind keeps a k6 iteration alive. */
  after(ms: number, task: () => void): () => void
  /** Runs `task` every `ms` until the returned function is called. */
  every(ms: number, task: () => void): () => void
}
