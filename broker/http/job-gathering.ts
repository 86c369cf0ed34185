import type { Clock, Timer } from '../platform/clock.js'
import type { ClaimLink, DeliveredJob } from './claim-link.js'

/** After the first job others may be on their way: so long they are waited for. */
const GATHER_MS = 10
/** What a claim waits that need not: leasing a job is a write to the log. */
const FIRST_MS = 250

/** The jobs of one claim, as they come. */
export class JobGathering {
  /** Resolves when there are enough, or nothing more comes, or the time is over, or the claim is given up. */
  readonly jobs: Promise<readonly DeliveredJob[]>
  readonly #clock: Clock
  readonly #link: ClaimLink
  readonly #gathered: DeliveredJob[] = []
  #resolve: (jobs: readonly DeliveredJob[]) => void = () => {}
  #timer: Timer | undefined

  constructor(link: ClaimLink, { max, signal, clock }: { max: number; signal: AbortSignal; clock: Clock }) {
    this.#clock = clock
    this.#link = link
    this.jobs = new Promise((resolve) => {
      this.#resolve = resolve
    })
    signal.addEventListener('abort', () => this.stop(), { once: true })
    link.onEnd = () => this.stop()
    link.onJobs = (more) => {
      this.#gathered.push(...more)
      if (this.#gathered.length >= max) this.stop()
      else this.#stopAfter(GATHER_MS)
    }
    if (signal.aborted) this.stop()
  }

  /** The worker has joined: from here on the time runs. */
  start(waitMs: number): void {
    const isUnderWay = this.#link.onJobs === undefined || this.#timer !== undefined
    if (!isUnderWay) this.#stopAfter(Math.max(waitMs, FIRST_MS))
  }

  stop(): void {
    this.#timer?.cancel()
    this.#link.onJobs = undefined
    this.#resolve(this.#gathered)
  }

  #stopAfter(ms: number): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.setTimer(() => this.stop(), ms)
  }
}
