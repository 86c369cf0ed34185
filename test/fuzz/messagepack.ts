/** MessagePack written apart from the code under test: in whatever format is asked for, and bytes that lie. */

/** Bytes that are put into a frame as they are, right or wrong. */
export class Raw {
  readonly bytes: Uint8Array

  constructor(bytes: ArrayLike<number>) {
    this.bytes = Uint8Array.from(bytes)
  }
}

/** A value written with a header that is larger than it need be: 1, 2, 4 or 8 bytes. Legal everywhere. */
export class Wide {
  readonly value: unknown
  readonly sizeBytes: number

  constructor(value: unknown, sizeBytes: number) {
    this.value = value
    this.sizeBytes = sizeBytes
  }
}

/** A text, binary or list whose header says `by` more than there is. */
export class Lying {
  readonly value: unknown
  readonly by: number

  constructor(value: unknown, by: number) {
    this.value = value
    this.by = by
  }
}

export function encode(value: unknown): Uint8Array {
  const out: Uint8Array[] = []
  write(value, out, { wide: 0, by: 0 })
  return new Uint8Array(Buffer.concat(out))
}

interface Manner {
  readonly wide: number
  readonly by: number
}

const PLAIN: Manner = { wide: 0, by: 0 }

function write(value: unknown, out: Uint8Array[], manner: Manner): void {
  if (value instanceof Raw) out.push(value.bytes)
  else if (value instanceof Wide) write(value.value, out, { ...manner, wide: value.sizeBytes })
  else if (value instanceof Lying) write(value.value, out, { ...manner, by: value.by })
  else if (value === null || value === undefined) out.push(Uint8Array.of(0xc0))
  else if (typeof value === 'boolean') out.push(Uint8Array.of(value ? 0xc3 : 0xc2))
  else if (typeof value === 'number') out.push(number(value, manner.wide))
  else if (typeof value === 'string') {
    const bytes = Buffer.from(value)
    out.push(
      header(bytes.length + manner.by, { fix: [0xa0, 31], sized: [0xd9, 0xda, 0xdb] }, manner.wide),
      bytes,
    )
  } else if (value instanceof Uint8Array) {
    out.push(header(value.length + manner.by, { sized: [0xc4, 0xc5, 0xc6] }, manner.wide), value)
  } else if (Array.isArray(value)) {
    out.push(header(value.length + manner.by, { fix: [0x90, 15], sized: [0, 0xdc, 0xdd] }, manner.wide))
    for (const each of value) write(each, out, PLAIN)
  } else {
    const entries = Object.entries(value)
    out.push(header(entries.length + manner.by, { fix: [0x80, 15], sized: [0, 0xde, 0xdf] }, manner.wide))
    for (const [key, each] of entries) {
      write(key, out, PLAIN)
      write(each, out, PLAIN)
    }
  }
}

interface Formats {
  /** First byte and longest length of the one-byte header. */
  readonly fix?: readonly [number, number]
  /** First bytes for lengths in 1, 2 and 4 bytes; 0 where there is none. */
  readonly sized: readonly [number, number, number]
}

function header(length: number, { fix, sized }: Formats, wide: number): Uint8Array {
  const claimed = Math.max(0, length)
  if (fix !== undefined && claimed <= fix[1] && wide === 0) return Uint8Array.of(fix[0] + claimed)
  if (claimed < 0x100 && wide <= 1 && sized[0] !== 0) return Uint8Array.of(sized[0], claimed)
  const bytes = new Uint8Array(claimed < 0x1_0000 && wide <= 2 ? 3 : 5)
  const data = new DataView(bytes.buffer)
  bytes[0] = bytes.length === 3 ? sized[1] : sized[2]
  if (bytes.length === 3) data.setUint16(1, claimed)
  else data.setUint32(1, Math.min(claimed, 0xffff_ffff))
  return bytes
}

function number(value: number, wide: number): Uint8Array {
  const isWhole = Number.isInteger(value)
  if (isWhole && value >= 0 && value < 0x80 && wide === 0) return Uint8Array.of(value)
  if (isWhole && value >= 0 && value < 2 ** 32 && wide === 4)
    return sized(0xce, 4, (data) => data.setUint32(1, value))
  if (isWhole && value >= 0 && value < 2 ** 63 && wide === 8)
    return sized(0xcf, 8, (data) => data.setBigUint64(1, BigInt(value)))
  if (isWhole && value >= 0 && value < 2 ** 32 && wide === 0)
    return sized(0xce, 4, (data) => data.setUint32(1, value))
  return sized(0xcb, 8, (data) => data.setFloat64(1, value))
}

function sized(type: number, bytes: number, set: (data: DataView) => void): Uint8Array {
  const out = new Uint8Array(1 + bytes)
  out[0] = type
  set(new DataView(out.buffer))
  return out
}
