import { bigEndian, isProtoKey, isStr } from './walk.js'

/** What stands at the cursor where a key, a value or a header's value is expected. */
export const FIELD = { none: 0, str: 1, bin: 2, fault: -1 } as const

const TWO_32 = 0x1_0000_0000

/** Reads a payload front to back; its numbers say what is wrong, so that reading allocates nothing. */
export class RecordCursor {
  readonly bytes: Uint8Array
  position = 0
  /** Where the content of the last field() begins; it ends at `position`. */
  contentStart = 0
  readonly #data: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The length of the array that begins here; -1 when none does. */
  arrayLength(): number {
    return this.#containerLength(0x90, 0xdc)
  }

  /** The length of the map that begins here; -1 when none does. */
  mapLength(): number {
    return this.#containerLength(0x80, 0xde)
  }

  #containerLength(fixType: number, type16: number): number {
    const { bytes, position } = this
    const left = bytes.length - position
    if (left < 1) return -1
    const type = bytes[position]!
    if ((type & 0xf0) === fixType) {
      this.position = position + 1
      return type & 0x0f
    }
    if (type === type16 && left >= 3) {
      this.position = position + 3
      return bigEndian(bytes, position + 1, 2)
    }
    if (type === type16 + 1 && left >= 5) {
      this.position = position + 5
      return bigEndian(bytes, position + 1, 4)
    }
    return -1
  }

  /** The whole number that begins here, in any of MessagePack's number types; NaN when it is none, or not exact. */
  integer(): number {
    const { bytes, position } = this
    if (position >= bytes.length) return Number.NaN
    const type = bytes[position]!
    if (type < 0x80) {
      this.position = position + 1
      return type
    }
    if (type >= 0xe0) {
      this.position = position + 1
      return type - 0x100
    }
    return this.#longInteger(type, position + 1)
  }

  #longInteger(type: number, at: number): number {
    const data = this.#data
    const size = numberBytes(type)
    if (size === 0 || at + size > data.byteLength) return Number.NaN
    this.position = at + size
    switch (type) {
      case 0xcc:
        return data.getUint8(at)
      case 0xcd:
        return data.getUint16(at)
      case 0xce:
        return data.getUint32(at)
      case 0xcf:
        return exact(data.getUint32(at) * TWO_32 + data.getUint32(at + 4))
      case 0xd0:
        return data.getInt8(at)
      case 0xd1:
        return data.getInt16(at)
      case 0xd2:
        return data.getInt32(at)
      case 0xd3:
        return exact(data.getInt32(at) * TWO_32 + data.getUint32(at + 4))
      case 0xca:
        return exact(data.getFloat32(at))
      default:
        return exact(data.getFloat64(at))
    }
  }

  /** Passes a nil, a str or a bin, and says which of FIELD it was. */
  field(): number {
    const { bytes, position } = this
    const left = bytes.length - position
    if (left < 1) return FIELD.fault
    const type = bytes[position]!
    if (type === 0xc0) {
      this.position = position + 1
      return FIELD.none
    }
    if ((type & 0xe0) === 0xa0) return this.#content(position + 1, type & 0x1f, FIELD.str)
    switch (type) {
      case 0xd9:
      case 0xc4:
        if (left < 2) return FIELD.fault
        return this.#content(position + 2, bytes[position + 1]!, type === 0xd9 ? FIELD.str : FIELD.bin)
      case 0xda:
      case 0xc5:
        if (left < 3) return FIELD.fault
        return this.#content(
          position + 3,
          bigEndian(bytes, position + 1, 2),
          type === 0xda ? FIELD.str : FIELD.bin,
        )
      case 0xdb:
      case 0xc6:
        if (left < 5) return FIELD.fault
        return this.#content(
          position + 5,
          bigEndian(bytes, position + 1, 4),
          type === 0xdb ? FIELD.str : FIELD.bin,
        )
      default:
        return FIELD.fault
    }
  }

  #content(start: number, length: number, kind: number): number {
    const end = start + length
    if (end > this.bytes.length) return FIELD.fault
    this.contentStart = start
    this.position = end
    return kind
  }

  /** Passes a str that may name a header; false when none begins here. */
  headerName(): boolean {
    const start = this.position
    if (start >= this.bytes.length || !isStr(this.bytes[start]!)) return false
    return this.field() === FIELD.str && !isProtoKey(this.bytes, start, this.position)
  }
}

function numberBytes(type: number): number {
  switch (type) {
    case 0xcc:
    case 0xd0:
      return 1
    case 0xcd:
    case 0xd1:
      return 2
    case 0xca:
    case 0xce:
    case 0xd2:
      return 4
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return 8
    default:
      return 0
  }
}

const exact = (number: number): number => (Number.isSafeInteger(number) ? number : Number.NaN)
