/** A frame: one WebSocket message, one MessagePack array `[opcode, ...fields]`. What the fields mean is in messages/. */
import { Packr, Unpackr } from 'msgpackr'
import { MillraceError } from './error-codes.js'
import { HARD_LIMITS } from './limits.js'
import { type WalkLimits, walkFaultText, walkValue } from './walk.js'

const OPTIONS = {
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
} as const

const packr = new Packr(OPTIONS)
const unpackr = new Unpackr(OPTIONS)

const FRAME_LIMITS: WalkLimits = {
  nestingMax: HARD_LIMITS.nestingMax,
  valuesMax: HARD_LIMITS.valuesPerFrameMax,
}

const NO_BYTES = new Uint8Array(0)

/** From here on the last field is copied once, past the packer's own buffer, which would grow with it and stay large. */
const LARGE_FIELD_BYTES = 1024

/** The bytes of a frame, in memory of their own: safe to keep. */
export function packFrame(frame: unknown[]): Uint8Array {
  const last = frame.at(-1)
  if (!(last instanceof Uint8Array) || last.length < LARGE_FIELD_BYTES) {
    return new Uint8Array(packr.pack(frame))
  }
  return packWithoutLast(frame, last.length, last)
}

/**
 * The bytes of a frame up to the content of its last field, which must be binary: `lastBytes` bytes that the caller
 * sends right after. So a batch goes from where it lies to the socket without a copy.
 */
export function packFrameHead(frameWithoutLast: unknown[], lastBytes: number): Uint8Array {
  return packWithoutLast([...frameWithoutLast, NO_BYTES], lastBytes, NO_BYTES)
}

function packWithoutLast(frame: unknown[], lastBytes: number, last: Uint8Array): Uint8Array {
  const fields = frame.slice(0, -1)
  fields.push(NO_BYTES)
  const packed = packr.pack(fields)
  // The empty field's own two bytes, `c4 00`, give way to the real header.
  const headBytes = packed.length - 2
  const headerBytes = lastBytes < 0x100 ? 2 : lastBytes < 0x1_0000 ? 3 : 5
  const bytes = new Uint8Array(headBytes + headerBytes + last.length)
  bytes.set(packed.subarray(0, headBytes))
  if (headerBytes === 2) {
    bytes[headBytes] = 0xc4
    bytes[headBytes + 1] = lastBytes
  } else {
    const data = new DataView(bytes.buffer, headBytes)
    data.setUint8(0, headerBytes === 3 ? 0xc5 : 0xc6)
    if (headerBytes === 3) data.setUint16(1, lastBytes)
    else data.setUint32(1, lastBytes)
  }
  bytes.set(last, headBytes + headerBytes)
  return bytes
}

/**
 * The array that a frame holds, its opcode (a whole number) first. Binary fields are views into `bytes`.
 * Throws BAD_FRAME for everything that is no frame at all: bytes that are not MessagePack or go on after it, a top-level
 * value that is no array or has no opcode, extension types, map keys that are not text, nesting or values beyond the limits.
 * After that the sender cannot be trusted to know where frames begin, and the connection must be closed.
 */
export function unpackFrame(bytes: Uint8Array, limits: Partial<WalkLimits> = {}): unknown[] {
  const end = walkValue(bytes, 0, { ...FRAME_LIMITS, ...limits })
  if (end < 0) throw noFrame(walkFaultText(end))
  if (end !== bytes.length) throw noFrame(`${bytes.length - end} bytes follow the frame`)
  const type = bytes[0]!
  const isArray = (type & 0xf0) === 0x90 || type === 0xdc || type === 0xdd
  if (!isArray) throw noFrame('a frame must be an array')
  const frame = unpack(bytes)
  const opcode = frame[0]
  if (typeof opcode !== 'number' || !Number.isInteger(opcode) || opcode < 0) {
    throw noFrame('a frame must begin with its opcode')
  }
  return frame
}

function unpack(bytes: Uint8Array): unknown[] {
  try {
    return unpackr.unpack(bytes) as unknown[]
  } catch (cause) {
    // The walk let it through, so this is a gap in the walk: still the sender's frame, still not the process's end.
    throw new MillraceError('BAD_FRAME', { message: 'not a frame: it cannot be unpacked', cause })
  }
}

const noFrame = (why: string): MillraceError =>
  new MillraceError('BAD_FRAME', { message: `not a frame: ${why}` })
