import { MillraceError } from './error-codes.js'

declare const brand: unique symbol
type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** 128 bits, never reused, as 32 lower-case hex digits; 16 bytes on the wire and on disk. */
export type TopicId = Branded<string, 'TopicId'>
/** 128 bits chosen by the client, as hex: the same id on a retry gets the first answer. */
export type RequestId = Branded<string, 'RequestId'>
/** 128 random bits chosen by the client, as hex: one membership of a consumer group or work queue. */
export type MemberId = Branded<string, 'MemberId'>
/** 128 bits of a data directory's life. */
export type ClusterId = Branded<string, 'ClusterId'>

const DIGITS = [...'0123456789abcdef'].map((digit) => digit.charCodeAt(0))
const digits: number[] = new Array<number>(32).fill(0)

const KNOWN_MAX = 1024
/** Ids that were read lately, each in the place that its first bytes name: what is read comes again, and then as the same string. */
const known = { bytes: new Uint8Array(KNOWN_MAX * 16), texts: new Array<string | undefined>(KNOWN_MAX) }

/** 16 bytes at `position` as 32 hex digits. */
export function hexFromBytes(bytes: Uint8Array, position = 0): string {
  const place = ((bytes[position] ?? 0) | ((bytes[position + 1] ?? 0) << 8)) % KNOWN_MAX
  const start = place * 16
  const found = known.texts[place]
  let i = 0
  while (i < 16 && known.bytes[start + i] === (bytes[position + i] ?? 0)) i++
  if (i === 16 && found !== undefined) return found
  for (let i = 0; i < 16; i++) {
    const byte = bytes[position + i] ?? 0
    known.bytes[start + i] = byte
    digits[2 * i] = DIGITS[byte >> 4] as number
    digits[2 * i + 1] = DIGITS[byte & 15] as number
  }
  // One flat string at once: what is put together bit by bit is taken apart again when it becomes the key of a map.
  const text = String.fromCharCode.apply(null, digits)
  known.texts[place] = text
  return text
}

/** The 16 bytes of 32 hex digits, into `target` at `position`. Throws ILLEGAL_ARGUMENT for anything else. */
export function bytesFromHex(hex: string, target: Uint8Array = new Uint8Array(16), position = 0): Uint8Array {
  let seen = hex.length === 32 ? 0 : -1
  for (let i = 0; i < 16; i++) {
    const byte = (digitAt(hex, 2 * i) << 4) | digitAt(hex, 2 * i + 1)
    seen |= byte
    target[position + i] = byte
  }
  // A digit that is none is -1, and so leaves the sign behind.
  if (seen < 0) throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'an id has 32 hex digits' })
  return target
}

function digitAt(hex: string, index: number): number {
  const code = hex.charCodeAt(index)
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1
}

export const topicIdFrom = (hex: string): TopicId => hex as TopicId
export const requestIdFrom = (hex: string): RequestId => hex as RequestId
export const memberIdFrom = (hex: string): MemberId => hex as MemberId
export const clusterIdFrom = (hex: string): ClusterId => hex as ClusterId
