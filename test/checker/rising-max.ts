/** Things with a time and an offset: which of them has the highest offset before a time. */
export class RisingMax<T> {
  readonly #times: number[] = []
  readonly #best: T[] = []

  constructor(
    things: readonly T[],
    of: { readonly at: (thing: T) => number; readonly offset: (thing: T) => number },
  ) {
    let highest = Number.NEGATIVE_INFINITY
    for (const thing of [...things].sort((a, b) => of.at(a) - of.at(b))) {
      if (of.offset(thing) <= highest) continue
      highest = of.offset(thing)
      this.#times.push(of.at(thing))
      this.#best.push(thing)
    }
  }

  /** Of those strictly before `time`. */
  before(time: number): T | undefined {
    let low = 0
    let high = this.#times.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#times[middle] as number) < time) low = middle + 1
      else high = middle
    }
    return this.#best[low - 1]
  }
}
