import type { Random } from '../../platform/random.js'

/** Time is cut into intervals, counted from 9 October 2024: proxies may give one answer to all who ask within one. */
const EPOCH_MS = Date.UTC(2024, 9, 9)
const INTERVAL_MS = 20_000
const JITTER_INTERVALS_MAX = 180

/**
 * The cursor of a live answer: the interval, and always beyond the one that the client sent, so that it never gets the same
 * answer out of a cache for ever.
 */
export function liveCursor(
  given: string | undefined,
  { now, random }: { now: number; random: Random },
): string {
  const interval = Math.floor((now - EPOCH_MS) / INTERVAL_MS)
  const sent = given !== undefined && /^\d{1,15}$/.test(given) ? Number(given) : -1
  if (sent < interval) return String(interval)
  const [byte = 0] = random.bytes(1)
  return String(sent + 1 + (byte % JITTER_INTERVALS_MAX))
}
