import { lagBytes, type Retained } from '../shard/retention.js'

/** How far a reader is behind. Never unknown: all of it comes from what the broker has in memory. */
export interface Lag {
  /** Offsets from its position to the durable end. */
  readonly records: number
  /** Stored bytes; exact but for the chunk that holds the position, of which it is a share. */
  readonly bytes: number
  /** Age of the first record that it has not acknowledged, milliseconds; 0 when there is none. */
  readonly ms: number
}

/**
 * Of a reader whose next offset is `position`; what was deleted does not count. `now` is broker time. In a chunk the
 * time of the record is taken as if records had come evenly.
 */
export function lagOf(partition: Retained, position: number, now: number): Lag {
  const { startOffset, endOffset } = partition
  const from = Math.max(position, startOffset)
  if (from >= endOffset) return { records: 0, bytes: 0, ms: 0 }
  return {
    records: endOffset - from,
    bytes: Math.round(lagBytes(partition, from)),
    ms: Math.max(0, Math.round(now - appendTimeOf(partition, { offset: from, now }))),
  }
}

function appendTimeOf(
  { sealedEnd, chunks, tail }: Retained,
  { offset, now }: { offset: number; now: number },
): number {
  if (offset >= sealedEnd) return tail.at(tail.indexOf(offset))?.appendTime ?? now
  const section = chunks.findLast((chunk) => chunk.section.baseOffset <= offset)?.section
  // Between two chunks lies a gap: the record is the first of the next.
  if (section === undefined || section.endOffset <= offset) {
    const next = chunks.find((chunk) => chunk.section.baseOffset > offset)
    return next?.section.minAppendTime ?? tail.at(tail.indexOf(offset))?.appendTime ?? now
  }
  const { baseOffset, endOffset, minAppendTime, maxAppendTime } = section
  const share = (offset - baseOffset) / (endOffset - baseOffset)
  return minAppendTime + share * (maxAppendTime - minAppendTime)
}
