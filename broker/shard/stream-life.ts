/** How long streams live: pure functions of what is known of them and of the broker's time. */
import type { StreamState, TopicState } from './state.js'

/** When somebody wrote or read last, as far as this process knows; broker time, milliseconds. */
export function lastAccess({ stream, partitions }: TopicState): number {
  const appended = partitions[0]?.lastAppendTime ?? 0
  return stream === undefined ? appended : Math.max(stream.accessedAt, stream.row.accessedAt, appended)
}

/** Whether its time is over. */
export function isExpired(topic: TopicState, now: number): boolean {
  const row = topic.stream?.row
  if (row === undefined) return false
  if (row.expiresAt !== null && now >= Date.parse(row.expiresAt)) return true
  return row.ttlSeconds !== null && now >= lastAccess(topic) + row.ttlSeconds * 1000
}

const LOGGED_EVERY_MS_MAX = 60_000

/** An access need not be logged before the last one that is was so long ago: reads would be writes otherwise. */
export const loggedEveryMs = (ttlSeconds: number): number =>
  Math.min(LOGGED_EVERY_MS_MAX, (ttlSeconds * 1000) / 4)

/**
 * What was read since the last logged access, a crash has made forgotten: the stream lives as long as if it had been read just
 * before the next one was due.
 */
export function forgiveForgotten(stream: StreamState, roundMs: number): void {
  const { ttlSeconds, accessedAt } = stream.row
  if (ttlSeconds !== null) stream.accessedAt = accessedAt + loggedEveryMs(ttlSeconds) + roundMs
}
