import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import type { StreamInfo, StreamSegment, StreamsFace } from '../../shard/streams-face.js'
import { badRequest, printable } from '../shape.js'

const DIGITS = 16
const ZEROS = '0'.repeat(DIGITS)
/** The beginning of any stream: whoever is there has read of none. */
const BEGINNING = `${ZEROS}_${ZEROS}`
const TOKEN = /^(\d{16})_([0-9a-f]{32})(?:-[1-9]\d{0,9})?$/

/** An offset as a client sends it. */
export interface StreamOffset {
  readonly text: string
  readonly offset: number
  /** In which the record before it stands; undefined at the beginning. */
  readonly log: string | undefined
}

/**
 * An offset as clients see it, which sorts as text within its stream: the number, and the log in which the record before it
 * stands, so that no other place of any stream has the same. A fork has its source's up to where it leaves it; where it takes a part
 * of a record, it is said how many bytes.
 */
export function offsetToken(
  { streams }: { readonly streams: Pick<StreamsFace, 'segments'> },
  { topicId }: { readonly topicId: TopicId },
  offset: number,
): string {
  return tokenIn(streams.segments(topicId), offset)
}

/** As `offsetToken`, of a stream whose records stand in `segments`. */
export function tokenIn(segments: readonly StreamSegment[], offset: number): string {
  const segment = segments.find(({ from, to }) => offset > from && offset <= to)
  if (segment === undefined) return BEGINNING
  const { topicId, to, endBytes } = segment
  const part = offset === to && endBytes > 0 ? `-${endBytes}` : ''
  return `${String(offset).padStart(DIGITS, '0')}_${topicId}${part}`
}

/** Throws BAD_REQUEST. */
export function readOffset(token: string, what: string): StreamOffset {
  if (token === BEGINNING) return { text: token, offset: 0, log: undefined }
  const [, digits, log] = TOKEN.exec(token) ?? []
  const offset = Number(digits)
  if (log !== undefined && Number.isSafeInteger(offset)) return { text: token, offset, log }
  throw badRequest(`${what}: "${printable(token)}" is no offset of a stream`)
}

/** Where a read begins. */
export type ReadFrom = 'start' | 'now' | StreamOffset

/** Throws BAD_REQUEST. */
export function readFrom(given: string): ReadFrom {
  if (given === '-1') return 'start'
  if (given === 'now') return 'now'
  return readOffset(given, 'offset')
}

/** Whether a stream has this offset: one made anew under the path of another does not have the other's. */
export const isOffsetOf = (
  backing: Parameters<typeof offsetToken>[0],
  stream: Pick<StreamInfo, 'topicId'>,
  { text, offset }: StreamOffset,
): boolean => text === offsetToken(backing, stream, offset)

/** What can be read no more, or could not in this stream: `startOffset` can. */
export const offsetGone = (
  message: string,
  { startOffset, cause }: { startOffset: string; cause?: unknown },
): MillraceError => new MillraceError('OFFSET_GONE', { message, details: { startOffset }, cause })
