/**
 * A walk over MessagePack bytes that allocates nothing: where does the value at a position end, and is it made of what
 * the protocol uses? Bytes from outside pass here before anything is built from them.
 *
 * Positions are numbers from 0; a fault is a negative number, so that a walk needs no exception and no object.
 */
export const WALK_FAULTS = {
  cutShort: -1,
  extension: -2,
  tooDeep: -3,
  tooManyValues: -4,
  mapKey: -5,
  reservedByte: -6,
} as const

const FAULT_TEXTS: Readonly<Record<number, string>> = {
  [WALK_FAULTS.cutShort]: 'the bytes end inside a value',
  [WALK_FAULTS.extension]: 'extension types are not used',
  [WALK_FAULTS.tooDeep]: 'values are nested too deeply',
  [WALK_FAULTS.tooManyValues]: 'there are too many values',
  [WALK_FAULTS.mapKey]: 'a map key must be text other than "__proto__"',
  [WALK_FAULTS.reservedByte]: '0xc1 begins no MessagePack value',
}

export const walkFaultText = (fault: number): string => FAULT_TEXTS[fault] ?? 'the bytes are not MessagePack'

export interface WalkLimits {
  /** Arrays and maps inside each other; 0 allows scalars alone. */
  readonly nestingMax: number
  /** Values in all, containers and map keys included. */
  readonly valuesMax: number
}

// Not re-entrant, and need not be: a walk is synchronous and calls nobody.
let valuesLeft = 0

/** The position after the value at `position`, or one of WALK_FAULTS. */
export function walkValue(bytes: Uint8Array, position: number, limits: WalkLimits): number {
  valuesLeft = limits.valuesMax
  return skip(bytes, position, limits.nestingMax)
}

function skip(bytes: Uint8Array, position: number, nesting: number): number {
  if (position >= bytes.length) return WALK_FAULTS.cutShort
  if (--valuesLeft < 0) return WALK_FAULTS.tooManyValues
  const type = bytes[position]!
  if (type < 0x80 || type >= 0xe0) return position + 1
  if (type < 0x90) return skipMap(bytes, position + 1, type & 0x0f, nesting)
  if (type < 0xa0) return skipArray(bytes, position + 1, type & 0x0f, nesting)
  if (type < 0xc0) return within(bytes, position + 1 + (type & 0x1f))
  switch (type) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return position + 1
    case 0xcc: // uint8
    case 0xd0: // int8
      return within(bytes, position + 2)
    case 0xcd: // uint16
    case 0xd1: // int16
      return within(bytes, position + 3)
    case 0xca: // float32
    case 0xce: // uint32
    case 0xd2: // int32
      return within(bytes, position + 5)
    case 0xcb: // float64
    case 0xcf: // uint64
    case 0xd3: // int64
      return within(bytes, position + 9)
    case 0xc4: // bin8
    case 0xd9: // str8
      return skipSized(bytes, position, 1)
    case 0xc5: // bin16
    case 0xda: // str16
      return skipSized(bytes, position, 2)
    case 0xc6: // bin32
    case 0xdb: // str32
      return skipSized(bytes, position, 4)
    case 0xdc: // array16
      return position + 3 > bytes.length
        ? WALK_FAULTS.cutShort
        : skipArray(bytes, position + 3, bigEndian(bytes, position + 1, 2), nesting)
    case 0xdd: // array32
      return position + 5 > bytes.length
        ? WALK_FAULTS.cutShort
        : skipArray(bytes, position + 5, bigEndian(bytes, position + 1, 4), nesting)
    case 0xde: // map16
      return position + 3 > bytes.length
        ? WALK_FAULTS.cutShort
        : skipMap(bytes, position + 3, bigEndian(bytes, position + 1, 2), nesting)
    case 0xdf: // map32
      return position + 5 > bytes.length
        ? WALK_FAULTS.cutShort
        : skipMap(bytes, position + 5, bigEndian(bytes, position + 1, 4), nesting)
    case 0xc1:
      return WALK_FAULTS.reservedByte
    default:
      return WALK_FAULTS.extension
  }
}

const within = (bytes: Uint8Array, end: number): number => (end <= bytes.length ? end : WALK_FAULTS.cutShort)

function skipSized(bytes: Uint8Array, position: number, sizeBytes: number): number {
  const start = position + 1 + sizeBytes
  if (start > bytes.length) return WALK_FAULTS.cutShort
  return within(bytes, start + bigEndian(bytes, position + 1, sizeBytes))
}

function skipArray(bytes: Uint8Array, start: number, length: number, nesting: number): number {
  if (nesting === 0) return WALK_FAULTS.tooDeep
  let position = start
  for (let i = 0; i < length; i++) {
    position = skip(bytes, position, nesting - 1)
    if (position < 0) return position
  }
  return position
}

function skipMap(bytes: Uint8Array, start: number, length: number, nesting: number): number {
  if (nesting === 0) return WALK_FAULTS.tooDeep
  let position = start
  for (let i = 0; i < length; i++) {
    const keyEnd = skip(bytes, position, 0)
    if (keyEnd < 0) return keyEnd === WALK_FAULTS.tooDeep ? WALK_FAULTS.mapKey : keyEnd
    if (!isStr(bytes[position]!) || isProtoKey(bytes, position, keyEnd)) return WALK_FAULTS.mapKey
    position = skip(bytes, keyEnd, nesting - 1)
    if (position < 0) return position
  }
  return position
}

/** Whether a value that begins with this byte is a str. */
export const isStr = (type: number): boolean => (type & 0xe0) === 0xa0 || (type >= 0xd9 && type <= 0xdb)

/** A whole unsigned number of `sizeBytes` (1, 2 or 4) bytes, which must be there. */
export function bigEndian(bytes: Uint8Array, position: number, sizeBytes: number): number {
  if (sizeBytes === 1) return bytes[position]!
  if (sizeBytes === 2) return (bytes[position]! << 8) | bytes[position + 1]!
  return (
    ((bytes[position]! << 24) |
      (bytes[position + 1]! << 16) |
      (bytes[position + 2]! << 8) |
      bytes[position + 3]!) >>>
    0
  )
}

const PROTO = [0x5f, 0x5f, 0x70, 0x72, 0x6f, 0x74, 0x6f, 0x5f, 0x5f]

/** Whether the str from `position` to `end` is `__proto__`, however long its header: as a key it would set a prototype. */
export function isProtoKey(bytes: Uint8Array, position: number, end: number): boolean {
  const type = bytes[position]!
  const headerBytes = type === 0xd9 ? 2 : type === 0xda ? 3 : type === 0xdb ? 5 : 1
  const start = position + headerBytes
  if (end - start !== PROTO.length) return false
  for (let i = 0; i < PROTO.length; i++) if (bytes[start + i] !== PROTO[i]) return false
  return true
}
