import { DEDUP_PAGE_IDS, DedupPage } from './page.js'
import { POSITION_BITS } from './slots.js'

const PAGE_BITS = 10
/** Page numbers that positions can tell apart: about 16.7 million ids a topic. */
export const PAGES_MAX = 2 ** (POSITION_BITS - PAGE_BITS)
const RING_MIN = 4

/** The id at `index` of a page as one number, which is another's again only `PAGES_MAX` pages later. */
export const positionOf = (page: DedupPage, index: number): number =>
  ((page.number % PAGES_MAX) << PAGE_BITS) | index

export const indexOf = (position: number): number => position & (DEDUP_PAGE_IDS - 1)

/** The pages of one topic by position, from the oldest that is left to the newest. */
export class DedupPages {
  #ring: (DedupPage | undefined)[] = new Array(RING_MIN).fill(undefined)
  #first = 0
  #next = 0

  get count(): number {
    return this.#next - this.#first
  }

  /** Number of the oldest. */
  get first(): number {
    return this.#first
  }

  /** Behind the number of the newest. */
  get end(): number {
    return this.#next
  }

  /** A page by its number, from `first` on. */
  at(number: number): DedupPage {
    return this.#ring[number & (this.#ring.length - 1)]!
  }

  /** The page that a position would be in: another one if that page is gone. */
  near(position: number): DedupPage | undefined {
    return this.#ring[(position >>> PAGE_BITS) & (this.#ring.length - 1)]
  }

  /** Adds a page with room for so many ids. */
  add(options: { spanEnd: number; ids: number }): DedupPage {
    if (this.count === this.#ring.length) this.#widen()
    const page = new DedupPage({ ...options, number: this.#next })
    this.#ring[this.#next++ & (this.#ring.length - 1)] = page
    return page
  }

  dropOldest(count: number): void {
    for (let i = 0; i < count; i++) this.#ring[this.#first++ & (this.#ring.length - 1)] = undefined
  }

  dropNewest(): void {
    this.#ring[--this.#next & (this.#ring.length - 1)] = undefined
  }

  #widen(): void {
    const wider: (DedupPage | undefined)[] = new Array(2 * this.#ring.length).fill(undefined)
    for (let n = this.#first; n < this.#next; n++)
      wider[n & (wider.length - 1)] = this.#ring[n & (this.#ring.length - 1)]
    this.#ring = wider
  }
}
