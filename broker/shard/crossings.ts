/** Where a warning is given, and where it may be given again: between the two nothing is repeated. */
const WARN_SHARE = 0.8
const REARM_SHARE = 0.7

/** Remembers who has crossed into the last fifth of a bound, to say it once. What a round does not name is forgotten. */
export class Crossings {
  #above = new Set<string>()
  #round = new Set<string>()

  /** Whether `name` has just crossed; `share` is how much of its bound is used. */
  crossed(name: string, share: number): boolean {
    const wasAbove = this.#above.has(name)
    const isAbove = share > WARN_SHARE || (wasAbove && share >= REARM_SHARE)
    if (isAbove) this.#round.add(name)
    return isAbove && !wasAbove
  }

  endRound(): void {
    this.#above = this.#round
    this.#round = new Set()
  }
}
