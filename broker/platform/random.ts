import { randomBytes, randomFillSync } from 'node:crypto'

/** Randomness, injected, so that a failing run can be replayed from its seed. */
export interface Random {
  bytes(count: number): Uint8Array
  /** An integer in [0, 2^32). */
  uint32(): number
  /** A number in [0, 1). */
  fraction(): number
}

const words = new Uint32Array(2)

/** The operating system's generator, fit for ids and salts. */
export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  uint32: () => randomFillSync(words)[0] ?? 0,
  fraction() {
    randomFillSync(words)
    return fractionOf(words[0] ?? 0, words[1] ?? 0)
  },
}

/** 53 random bits as a fraction, from the upper bits of two words. */
export function fractionOf(high: number, low: number): number {
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53
}
