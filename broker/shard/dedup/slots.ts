/**
 * Open-addressing tables of positions, as plain arrays. A slot is a 7-bit tag, a bit that says that it is taken, and a
 * 24-bit position.
 */
import { mixedOf } from './chunk.js'
import { DEDUP_HASH_WORDS, DEDUP_PAGE_IDS } from './page.js'

export const POSITION_BITS = 24
export const POSITION_MASK = 2 ** POSITION_BITS - 1

const SLOTS_MIN = 32
/** From here on the next table is filled beside this one. */
export const LOAD_MAX = 0.6
/** No table is ever fuller: what is left of a move is done at once before. */
export const LOAD_FULL = 0.75
/** What the next table holds at first: so there is time until the one after it, in a topic that does not grow too. */
const LOAD_FIRST = 0.4

export function slotsFor(ids: number): number {
  let slots = SLOTS_MIN
  while (ids > slots * LOAD_FIRST) slots *= 2
  return slots
}

const TAKEN = 1 << POSITION_BITS
const TAG_SHIFT = POSITION_BITS + 1

export const slotOf = (mixed: number, position: number): number => (mixed & ~POSITION_MASK) | TAKEN | position

/** Whether a slot may be that of an id. */
export const isTagged = (slot: number, mixed: number): boolean => (slot ^ mixed) >>> TAG_SHIFT === 0

/** Ids of a chunk or of a page, by index. */
export interface IdRange {
  readonly from: number
  readonly to: number
}

/** Means nothing; without it the compiler would leave out reads that only bring memory nearer. */
export let touched = 0

/**
 * Reads the slots of many ids, to no other end than that they are in the processor's cache then: the waits for memory
 * overlap here, and would come one after the other in what follows.
 */
export function touch(
  slots: Uint32Array,
  mixed: Int32Array,
  { from, to }: { from: number; to: number },
): void {
  const mask = slots.length - 1
  let sum = 0
  for (let i = from; i < to; i++) sum ^= slots[mixed[i]! & mask]!
  touched = sum
}

const mixedIds = new Int32Array(DEDUP_PAGE_IDS)

/** Puts the ids `from` to `to` of a page, whose words are given and whose first id has `position`. */
export function putPage(
  slots: Uint32Array,
  words: Int32Array,
  { position, from, to }: IdRange & { readonly position: number },
): void {
  for (let i = from, at = from * DEDUP_HASH_WORDS; i < to; i++, at += DEDUP_HASH_WORDS)
    mixedIds[i] = mixedOf(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!)
  touch(slots, mixedIds, { from, to })
  const mask = slots.length - 1
  for (let i = from; i < to; i++) {
    const mixed = mixedIds[i]!
    let slot = mixed & mask
    while (slots[slot] !== 0) slot = (slot + 1) & mask
    slots[slot] = slotOf(mixed, position + i)
  }
}
