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

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** 16 bytes at `position` as 32 hex digits. */
export function hexFromBytes(bytes: Uint8Array, position = 0): string {
  let text = ''
  for (let i = position; i < position + 16; i++) text += HEX[bytes[i] ?? 0]
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
