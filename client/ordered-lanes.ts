interface Work<T> {
  readonly item: T
  readonly lane: unknown
  /** Older work goes first. */
  readonly order: number
}

/**
 * Which work may begin: so much at once and no more, that of one lane one after the other, and the oldest first. Since the
 * oldest goes first, work that waits until older work is done never waits for ever.
 */
export class OrderedLanes<T> {
  readonly #concurrency: number
  /** May begin; by age. */
  readonly #ready: Work<T>[] = []
  /** Lanes of which something is ready or running, with what waits behind it. */
  readonly #lanes = new Map<unknown, Work<T>[]>()
  readonly #running = new Map<T, Work<T>>()
  #waiting = 0
  #order = 0

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  /** Work that has not begun. */
  get waiting(): number {
    return this.#waiting
  }

  get running(): number {
    return this.#running.size
  }

  /** `lane` undefined: whenever there is room. */
  add(item: T, lane: unknown): void {
    const work = { item, lane, order: this.#order++ }
    this.#waiting++
    if (lane === undefined) {
      this.#ready.push(work)
      return
    }
    const behind = this.#lanes.get(lane)
    if (behind !== undefined) {
      behind.push(work)
      return
    }
    this.#lanes.set(lane, [])
    this.#ready.push(work)
  }

  /** The next that begins now; undefined when nothing may. It runs until `done`. */
  take(): T | undefined {
    if (this.#running.size >= this.#concurrency) return undefined
    const work = this.#ready.shift()
    if (work === undefined) return undefined
    this.#waiting--
    this.#running.set(work.item, work)
    return work.item
  }

  done(item: T): void {
    const work = this.#running.get(item)
    if (work === undefined) return
    this.#running.delete(item)
    this.#free(work.lane)
  }

  /** Forgets what has not begun and answers to this. */
  drop(isUnwanted: (item: T) => boolean): void {
    for (const behind of this.#lanes.values()) this.#removeFrom(behind, isUnwanted)
    for (const { lane } of this.#removeFrom(this.#ready, isUnwanted)) this.#free(lane)
  }

  #removeFrom(list: Work<T>[], isUnwanted: (item: T) => boolean): Work<T>[] {
    const removed = list.filter(({ item }) => isUnwanted(item))
    if (removed.length === 0) return removed
    const kept = list.filter(({ item }) => !isUnwanted(item))
    list.splice(0, list.length, ...kept)
    this.#waiting -= removed.length
    return removed
  }

  #free(lane: unknown): void {
    if (lane === undefined) return
    const next = this.#lanes.get(lane)?.shift()
    if (next === undefined) this.#lanes.delete(lane)
    else this.#ready.splice(this.#placeOf(next.order), 0, next)
  }

  #placeOf(order: number): number {
    let low = 0
    let high = this.#ready.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#ready[middle] as Work<T>).order < order) low = middle + 1
      else high = middle
    }
    return low
  }
}
