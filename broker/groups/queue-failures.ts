import { type ErrorCode, MillraceError } from '../../protocol/error-codes.js'

const END_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNKNOWN_TOPIC',
  'UNKNOWN_PARTITION',
  'UNKNOWN_GROUP',
  'GROUP_KIND_CONFLICT',
  'SHUTTING_DOWN',
  'STORAGE_FAILED',
])

/** Whether a partition's queue cannot go on after this: its topic or group is gone, or the shard. */
export const isEnd = (error: unknown): boolean => error instanceof MillraceError && END_CODES.has(error.code)

/**
 * A disk that does not give a record now may give it later: only a write that fails ends the shard, and that closes the queue by
 * itself.
 */
export const isOfReading = (error: unknown): boolean =>
  error instanceof MillraceError && error.code === 'STORAGE_FAILED'

/** The start offset that an OFFSET_OUT_OF_RANGE names; -1 for any other error. */
export const startOf = (error: unknown): number =>
  error instanceof MillraceError && error.code === 'OFFSET_OUT_OF_RANGE'
    ? Number(error.details?.startOffset ?? -1)
    : -1
