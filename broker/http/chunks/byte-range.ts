import { MillraceError } from '../../../protocol/error-codes.js'

/** Bytes from `start` to `end`, not included. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Longer ones ask for many ranges. */
const RANGE_CHARS_MAX = 64
const RANGE = /^bytes=(\d{0,16})-(\d{0,16})$/

/**
 * The range that a `Range` header asks of `bytes` bytes; undefined where it asks for none that is served: several at once, another
 * unit, no range at all. Then all bytes are the answer. Throws RANGE_NOT_SATISFIABLE.
 */
export function rangeIn(header: string | undefined, bytes: number): ByteRange | undefined {
  if (header === undefined || header.length > RANGE_CHARS_MAX) return undefined
  const [, first = '', last = ''] = RANGE.exec(header.replaceAll(' ', '')) ?? []
  if (first === '' && last === '') return undefined
  if (first === '') {
    const count = Math.min(Number(last), bytes)
    if (count === 0) throw notSatisfiable(bytes)
    return { start: bytes - count, end: bytes }
  }
  const start = Number(first)
  const end = last === '' ? bytes : Math.min(Number(last) + 1, bytes)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= bytes) throw notSatisfiable(bytes)
  return { start, end }
}

const notSatisfiable = (bytes: number): MillraceError =>
  new MillraceError('RANGE_NOT_SATISFIABLE', {
    message: `the range begins behind the last of ${bytes} bytes`,
    details: { bytes },
  })
