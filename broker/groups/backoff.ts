export const BACKOFF_MS_MIN = 1000
export const BACKOFF_MS_MAX = 5 * 60_000

/** How long a job waits that failed after `count` earlier deliveries. */
export const backoffMs = (count: number): number =>
  Math.min(BACKOFF_MS_MIN * 2 ** Math.min(count, 30), BACKOFF_MS_MAX)
