import { DEDUP_ID_HASH_BYTES } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { BatchLimits } from './batch-check.js'
import { isJobAck, type WriteUnit } from './write-unit.js'

/** What one write, ack or range takes in the WAL besides what it brings, at most: headers, and its part of the answer. */
const WRITE_OVERHEAD_BYTES = 256
const ACK_OVERHEAD_BYTES = 64
const RANGE_BYTES = 24

/**
 * Checks what a unit is besides its batches: it has at most the size of a batch, all together. Throws ATOMIC_TOO_LARGE,
 * ILLEGAL_ARGUMENT.
 */
export function checkUnit(
  { writes, acks, stream }: WriteUnit,
  { batchBytesMax: bytesMax }: BatchLimits,
): void {
  const { atomicDedupIdsMax } = HARD_LIMITS
  if (writes.length === 0 && acks.length === 0 && stream === undefined)
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'an atomic write needs a record or an ack' })
  let bytes = 0
  let ids = 0
  for (const { payload, dedupIds } of writes) {
    bytes += payload.length + WRITE_OVERHEAD_BYTES
    if (dedupIds === null) continue
    bytes += dedupIds.bitmap.length + dedupIds.hashes.length
    ids += dedupIds.hashes.length / DEDUP_ID_HASH_BYTES
  }
  const cursors = new Set<string>()
  for (const ack of acks) {
    bytes += ACK_OVERHEAD_BYTES
    if (!isJobAck(ack)) {
      cursors.add(`${ack.groupId}/${ack.topicId}/${ack.partition}`)
      continue
    }
    bytes += ack.ranges.length * RANGE_BYTES
    if (ack.ranges.length === 0)
      throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'an ack of jobs names none' })
  }
  if (cursors.size < acks.filter((ack) => !isJobAck(ack)).length)
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'there are several acks of one cursor' })
  if (bytes > bytesMax)
    throw new MillraceError('ATOMIC_TOO_LARGE', {
      message: `the atomic write has ${bytes} bytes, at most ${bytesMax} are allowed`,
      details: { bytes, bytesMax },
    })
  // The answer names the duplicates, and it is kept for the retry.
  if (ids > atomicDedupIdsMax)
    throw new MillraceError('ATOMIC_TOO_LARGE', {
      message: `the atomic write has ${ids} dedup ids, at most ${atomicDedupIdsMax} are allowed`,
      details: { dedupIds: ids, dedupIdsMax: atomicDedupIdsMax },
    })
}
