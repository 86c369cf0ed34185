import type { FailpointName } from '../broker/platform/failpoints.js'

type Stage = 'idle' | 'awaited' | 'requested' | 'writing'

/**
 * The moment when a request is on disk and nobody has been told: a client cannot know then what became of it. It is found by what
 * the broker passes on its way: the request, the beginning of the next write of the WAL, which holds it, and that write's end.
 */
export class CrashMoment {
  readonly #crash: () => void
  #frames: readonly string[] = []
  #stage: Stage = 'idle'

  /** `crash` is called in that very moment, and must stop the broker before it returns. */
  constructor(crash: () => void) {
    this.#crash = crash
  }

  /** The next request in one of these frames is the one. */
  await(frames: readonly string[]): void {
    this.#frames = frames
    this.#stage = 'awaited'
  }

  /** No moment any more. */
  forget(): void {
    this.#stage = 'idle'
  }

  requested(frame: string): void {
    if (this.#stage === 'awaited' && this.#frames.includes(frame)) this.#stage = 'requested'
  }

  passed(failpoint: FailpointName): void {
    if (failpoint === 'walBeforeWrite' && this.#stage === 'requested') this.#stage = 'writing'
    else if (failpoint === 'walAfterWrite' && this.#stage === 'writing') {
      this.#stage = 'idle'
      this.#crash()
    }
  }
}
