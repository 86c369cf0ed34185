import { hexFromBytes, type RequestId, requestIdFrom } from '../protocol/ids.js'

/** Randomness, injected, so that tests can foresee it. */
export interface Random {
  /** A number in [0, 1): spreads clients over time and partitions. */
  fraction(): number
  /** Bytes that nobody else draws: they become ids. */
  bytes(count: number): Uint8Array
}

export const systemRandom: Random = {
  fraction: () => Math.random(),
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
}

export const newRequestId = (random: Random): RequestId => requestIdFrom(hexFromBytes(random.bytes(16)))
