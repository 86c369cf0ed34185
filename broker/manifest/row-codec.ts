import { Packr, RESET_BUFFER_MODE } from 'msgpackr'
import { crc32 } from '#crc32'
import { RecordCursor } from '../../protocol/record-cursor.js'
import { ManifestCorruption } from './corruption.js'
import { decodeKey, describeKey, encodeKey, uint32At } from './key-codec.js'
import type { RowKind, Rows, ShardRow } from './rows.js'
import { FORMAT_KEYSPACE, KEYSPACES, type Keyspace, ROW_KINDS, SHARD_KEYSPACE } from './schema.js'
import type { StoreEntry } from './store.js'

/**
 * A value: u32 CRC (big-endian, over the key and all that follows), u8 version, the fields as a MessagePack list. The
 * CRC goes over the key too, so that a value that stands under another key is found.
 */
const AT = { crc: 0, version: 4, body: 5 } as const
const VALUE_VERSION = 1

const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  int64AsType: 'number',
  encodeUndefinedAsNil: true,
})

export type DecodedRow =
  | { readonly kind: 'format'; readonly row: { format: number } }
  | { readonly kind: 'shard'; readonly row: ShardRow }
  | { readonly [Kind in RowKind]: { readonly kind: Kind; readonly row: Rows[Kind] } }[RowKind]

interface Space {
  readonly kind: DecodedRow['kind']
  readonly space: Keyspace<unknown, unknown>
}

const byNumber = new Map<number, Space>()
const register = (kind: DecodedRow['kind'], space: unknown): void => {
  const { number } = space as Keyspace<unknown, unknown>
  byNumber.set(number, { kind, space: space as Keyspace<unknown, unknown> })
}
register('format', FORMAT_KEYSPACE)
register('shard', SHARD_KEYSPACE)
for (const kind of ROW_KINDS) register(kind, KEYSPACES[kind])

type KeyEncoding<Key> = Pick<Keyspace<unknown, Key>, 'number' | 'keyFields' | 'keyValues'>

export const encodeRowKey = <Key>(space: KeyEncoding<Key>, key: Key): Buffer =>
  encodeKey(space.number, space.keyFields, space.keyValues(key))

/** Throws a TypeError when a field does not fit the schema: such a row could never be loaded again. */
export function encodeRow<Row extends Key, Key>(space: Keyspace<Row, Key>, row: Row): StoreEntry {
  const key = encodeKey(space.number, space.keyFields, space.keyValues(row))
  const fields = space.body.write(space.flat(row))
  try {
    space.body.read(fields, space.name)
  } catch (cause) {
    throw new TypeError(`a ${space.name} row cannot be written: ${(cause as Error).message}`, { cause })
  }
  // Copied at once: the next row is packed into the same memory.
  const body = packr.pack(fields, RESET_BUFFER_MODE)
  const value = Buffer.allocUnsafe(AT.body + body.length)
  value[AT.version] = VALUE_VERSION
  value.set(body, AT.body)
  value.writeUInt32BE(crc32(value, crc32(key), AT.version), AT.crc)
  return [key, value]
}

/** Throws ManifestCorruption when anything about the row is not as it was written. */
export function decodeRow([key, value]: StoreEntry): DecodedRow {
  const found = byNumber.get(key[0] ?? 0)
  if (!found) {
    const reason = 'there is no such keyspace'
    throw new ManifestCorruption({ keyspace: `keyspace ${key[0]}`, key: describeKey(key, ['text']), reason })
  }
  const { kind, space } = found
  const corrupt = (reason: string, cause?: unknown): ManifestCorruption =>
    new ManifestCorruption({ keyspace: space.name, key: describeKey(key, space.keyFields), reason, cause })
  if (value.length <= AT.body) throw corrupt('its value is cut short')
  if (uint32At(value, AT.crc) !== crc32(value, crc32(key), AT.version)) {
    throw corrupt('its CRC does not match')
  }
  const version = value[AT.version]
  if (version !== VALUE_VERSION) throw corrupt(`its value has the unknown version ${version}`)
  const keyValues = decodeKey(key, space.keyFields)
  if (!keyValues) throw corrupt('its key has the wrong length')
  if (space.readQuickly !== undefined) {
    const cursor = new RecordCursor(value)
    cursor.position = AT.body
    const flat = space.readQuickly(cursor)
    if (flat !== undefined) return { kind, row: space.row(keyValues, flat) } as DecodedRow
  }
  try {
    const fields = packr.unpack(value, { start: AT.body, end: value.length })
    return { kind, row: space.row(keyValues, space.body.read(fields, space.name)) } as DecodedRow
  } catch (cause) {
    throw corrupt(`its value cannot be read: ${(cause as Error).message}`, cause)
  }
}
