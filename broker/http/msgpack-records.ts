import { Unpackr } from 'msgpackr'
import { HARD_LIMITS } from '../../protocol/limits.js'
import { FIELD, RecordCursor } from '../../protocol/record-cursor.js'
import { utf8 } from '../../protocol/utf8.js'
import { walkFaultText, walkValue } from '../../protocol/walk.js'
import {
  checkedDedupId,
  type Encodings,
  type IncomingRecord,
  readHeaders,
  readTimestamp,
  recordName,
} from './incoming-record.js'
import { badRequest, uint } from './shape.js'
import { wireOfMsgpack } from './wire-codec.js'

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, copyBuffers: true })
const partitionShape = uint({ max: HARD_LIMITS.uint32Max })
/** A value of 100 levels, in a record, in a list. */
const BODY_LIMITS = { nestingMax: 102, valuesMax: 10_000_000 }
const FIELD_NAMES = ['key', 'value', 'headers', 'timestamp', 'partition', 'dedupId'] as const
type FieldName = (typeof FIELD_NAMES)[number]

/**
 * The records of a MessagePack body: a map, or an array of them. Keys and values stay the bytes that they are where the
 * topic's encoding is MessagePack. Throws BAD_REQUEST, ENCODING_MISMATCH.
 */
export function recordsOfMsgpack(
  body: Buffer,
  topic: Encodings,
  refuseTooMany: (count: number) => void,
): IncomingRecord[] {
  const bytes = new Uint8Array(body.buffer, body.byteOffset, body.length)
  const end = walkValue(bytes, 0, BODY_LIMITS)
  if (end !== bytes.length)
    throw badRequest(
      `the body is not plain MessagePack: ${end < 0 ? walkFaultText(end) : 'bytes follow the value'}`,
    )
  const cursor = new RecordCursor(bytes)
  const count = cursor.arrayLength()
  if (count === -1) return [recordAt(cursor, 0, topic)]
  refuseTooMany(count)
  return Array.from({ length: count }, (_, index) => recordAt(cursor, index, topic))
}

/** The whole body was walked: nothing in it is cut short. */
function recordAt(cursor: RecordCursor, index: number, topic: Encodings): IncomingRecord {
  const name = recordName(index)
  const fields = fieldsAt(cursor, name)
  if (fields.value === undefined) throw badRequest(`${name}.value: expected any value, got nothing`)
  const plain = (field: FieldName): unknown => {
    const bytes = fields[field]
    return bytes === undefined ? undefined : (unpackr.unpack(bytes) as unknown)
  }
  const dedupId = plain('dedupId') ?? undefined
  if (dedupId !== undefined && typeof dedupId !== 'string') throw badRequest(`${name}: a dedupId is a text`)
  const partition = plain('partition') ?? undefined
  return {
    key: fields.key === undefined ? null : wireOfMsgpack(fields.key, topic.keyEncoding, `${name}: key`),
    value: wireOfMsgpack(fields.value, topic.valueEncoding, `${name}: value`),
    headers: readHeaders(plain('headers'), name),
    timestamp: readTimestamp(plain('timestamp'), name),
    partition: partition === undefined ? undefined : partitionShape.read(partition, `${name}.partition`),
    dedupId: checkedDedupId(dedupId, name),
  }
}

/** The bytes of each field of the map that begins here. */
function fieldsAt(cursor: RecordCursor, name: string): Partial<Record<FieldName, Uint8Array>> {
  const { bytes } = cursor
  const count = cursor.mapLength()
  if (count === -1) throw badRequest(`${name}: expected a map`)
  const fields: Partial<Record<FieldName, Uint8Array>> = {}
  for (let i = 0; i < count; i++) {
    if (cursor.field() !== FIELD.str) throw badRequest(`${name}: expected a map from text`)
    const key = utf8.reader(bytes)(cursor.contentStart, cursor.position) as FieldName
    if (!FIELD_NAMES.includes(key) || fields[key] !== undefined)
      throw badRequest(`${name}: known fields are ${FIELD_NAMES.join(', ')}, each once`)
    const start = cursor.position
    cursor.position = walkValue(bytes, start, BODY_LIMITS)
    fields[key] = bytes.subarray(start, cursor.position)
  }
  return fields
}
