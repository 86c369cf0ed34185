import { hexFromBytes } from '../../protocol/ids.js'

/** How a field stands in a key: big-endian, so that keys sort as their fields do. `text` can only be the last. */
export type KeyField = 'id' | 'u32' | 'u64' | 'text'

const fixedBytes: Readonly<Record<KeyField, number>> = { id: 16, u32: 4, u64: 8, text: 0 }
const TWO_32 = 0x1_0000_0000

/** A key: the keyspace's number in one byte, then the fields. */
export function encodeKey(keyspace: number, fields: readonly KeyField[], values: readonly unknown[]): Buffer {
  const last = fields.at(-1) === 'text' ? Buffer.from(String(values.at(-1)), 'utf8') : undefined
  let length = 1 + (last?.length ?? 0)
  for (const field of fields) length += fixedBytes[field]
  const key = Buffer.allocUnsafe(length)
  let at = key.writeUInt8(keyspace, 0)
  for (let i = 0; i < fields.length; i++) {
    const value = values[i]
    switch (fields[i]) {
      case 'id':
        at += key.write(value as string, at, 16, 'hex')
        break
      case 'u32':
        at = key.writeUInt32BE(value as number, at)
        break
      case 'u64':
        at = key.writeUInt32BE(Math.floor((value as number) / TWO_32), at)
        at = key.writeUInt32BE((value as number) % TWO_32, at)
        break
      default:
        key.set(last ?? [], at)
        at = length
    }
  }
  // A short hex id would leave bytes of the pool in the key.
  if (at !== length) throw new TypeError('a key field has the wrong length')
  return key
}

/** The field values of a key, or undefined when it has not the length of such a key. */
export function decodeKey(key: Uint8Array, fields: readonly KeyField[]): (string | number)[] | undefined {
  const values: (string | number)[] = []
  let at = 1
  for (const field of fields) {
    if (at + fixedBytes[field] > key.length) return undefined
    if (field === 'id') values.push(hexFromBytes(key, at))
    else if (field === 'u32') values.push(uint32At(key, at))
    else if (field === 'u64') values.push(uint32At(key, at) * TWO_32 + uint32At(key, at + 4))
    else values.push(asBuffer(key).toString('utf8', at))
    at = field === 'text' ? key.length : at + fixedBytes[field]
  }
  return at === key.length ? values : undefined
}

/** A key for people to read. */
export function describeKey(key: Uint8Array, fields: readonly KeyField[]): string {
  return (
    decodeKey(key, fields)
      ?.map((value, i) => (fields[i] === 'text' ? JSON.stringify(value) : value))
      .join('/') ?? asBuffer(key).toString('hex', 1)
  )
}

/** Big-endian; reading bytes is faster than a DataView for each of many small keys. */
export const uint32At = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0

const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
