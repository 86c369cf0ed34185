import { badRequest, printable } from '../shape.js'

/**
 * Offsets of streams as clients see them: of one length, so that they sort as text. The first part is 0; a record's offset is
 * the second.
 */
export const offsetToken = (offset: number): string => `${ZEROS}_${String(offset).padStart(DIGITS, '0')}`

const DIGITS = 16
const ZEROS = '0'.repeat(DIGITS)
const TOKEN = /^(\d{1,16})_(\d{1,16})$/

/** The record's offset that a token stands for; Infinity where no stream reaches. Throws BAD_REQUEST. */
export function offsetOf(token: string, what: string): number {
  const match = TOKEN.exec(token)
  if (match === null) throw badRequest(`${what}: "${printable(token)}" is no offset of a stream`)
  const offset = Number(match[2])
  return Number(match[1]) === 0 && Number.isSafeInteger(offset) ? offset : Number.POSITIVE_INFINITY
}

/** Where a read begins. */
export type ReadFrom = 'start' | 'now' | number

/** Throws BAD_REQUEST. */
export function readFrom(given: string): ReadFrom {
  if (given === '-1') return 'start'
  if (given === 'now') return 'now'
  return offsetOf(given, 'offset')
}
