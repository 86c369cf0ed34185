import type { TopicId } from '../../protocol/ids.js'
import type { ForkPoint } from '../manifest/rows.js'

/** A stretch of a stream's offsets, and the stream whose records they are. */
export interface StreamSegment {
  readonly topicId: TopicId
  readonly from: number
  /** Not included; Infinity: to the end. */
  readonly to: number
  /** How many bytes of the last record are part of it; 0: all. */
  readonly endBytes: number
}

/**
 * Where the records of a stream stand: those of the streams that it is a fork of, each up to where the next one leaves it, and
 * its own. The records of a source are read where they are: a fork holds none of them.
 */
export function segmentsOf(
  topicId: TopicId,
  forkOf: (topicId: TopicId) => ForkPoint | null,
): readonly StreamSegment[] {
  const segments: StreamSegment[] = []
  let end = { to: Number.POSITIVE_INFINITY, endBytes: 0 }
  for (let at: TopicId | undefined = topicId; at !== undefined; ) {
    const fork: ForkPoint | null = forkOf(at)
    const from = fork?.endOffset ?? 0
    if (from < end.to) segments.unshift({ topicId: at, from, ...end })
    if (fork === null) break
    end = endAt(fork, end)
    at = fork.topicId
  }
  return segments
}

/** Where a source ends for a fork that itself is read up to `end` only: the shorter counts. */
function endAt({ endOffset, endBytes }: ForkPoint, end: { to: number; endBytes: number }) {
  if (end.to < endOffset) return end
  if (end.to > endOffset) return { to: endOffset, endBytes }
  const shorter = Math.min(endBytes || Number.POSITIVE_INFINITY, end.endBytes || Number.POSITIVE_INFINITY)
  return { to: endOffset, endBytes: Number.isFinite(shorter) ? shorter : 0 }
}
