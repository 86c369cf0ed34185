import type { IncomingHttpHeaders } from 'node:http'
import { MillraceError } from '../../protocol/error-codes.js'
import type { WireHeaders } from '../../protocol/record.js'
import { bodyText, parsedJson } from './body.js'
import { isBinaryEvent, recordOfBinaryEvent, recordOfStructuredEvent } from './cloud-events.js'
import {
  checkedDedupId,
  type Encodings,
  type IncomingRecord,
  jsonRecord,
  jsonRecords,
  recordName,
  recordOfJson,
  refuseInexact,
} from './incoming-record.js'
import { unsupportedType } from './media-type.js'
import { recordsOfMsgpack } from './msgpack-records.js'
import { badRequest, type Shape } from './shape.js'
import { wireOfBytes, wireOfText } from './wire-codec.js'

/** A request that brings records. */
export interface RecordsRequest {
  readonly mediaType: string | undefined
  readonly bytes: Buffer
  readonly headers: IncomingHttpHeaders
  readonly query: RawRecordQuery
}

/** What the query says of a record whose value is the body. */
export interface RawRecordQuery {
  readonly key?: string | undefined
  readonly timestamp?: number | undefined
  readonly partition?: number | undefined
  readonly dedupId?: string | undefined
}

type Reader = (request: RecordsRequest, topic: Encodings) => IncomingRecord[]

const NDJSON: Reader = ({ bytes }, topic) => {
  const text = bodyText(bytes)
  refuseInexact(text)
  const records: IncomingRecord[] = []
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue
    refuseTooMany(records.length + 1)
    records.push(recordOfJson(parsedJson(line, recordName(records.length)), records.length, topic))
  }
  return records
}

const RAW: Reader = ({ bytes, headers, query }, topic) => {
  const { key, timestamp, partition, dedupId } = query
  return [
    {
      key: key === undefined ? null : wireOfText(key, topic.keyEncoding, 'key'),
      value: wireOfBytes(bytes, topic.valueEncoding, 'the body'),
      headers: recordHeadersIn(headers),
      timestamp,
      partition,
      dedupId: checkedDedupId(dedupId, recordName(0)),
    },
  ]
}

const MSGPACK: Reader = ({ bytes }, topic) => recordsOfMsgpack(bytes, topic, refuseTooMany)

/** By media type. Beside these, a CloudEvent in binary mode may be of any type. */
const READERS: Readonly<Record<string, Reader>> = {
  'application/json': ({ bytes }, topic) => {
    const given = exactJson(bytes)
    if (!Array.isArray(given)) return [recordOfJson(given, 0, topic)]
    refuseTooMany(given.length)
    return given.map((each, index) => recordOfJson(each, index, topic))
  },
  'application/x-ndjson': NDJSON,
  'application/jsonl': NDJSON,
  'application/msgpack': MSGPACK,
  'application/x-msgpack': MSGPACK,
  'application/vnd.msgpack': MSGPACK,
  'application/octet-stream': RAW,
  'text/plain': RAW,
  'application/cloudevents+json': ({ bytes }, topic) => [recordOfStructuredEvent(exactJson(bytes), 0, topic)],
  'application/cloudevents-batch+json': ({ bytes }, topic) => {
    const given = exactJson(bytes)
    if (!Array.isArray(given)) throw badRequest('the body: expected a list of events')
    refuseTooMany(given.length)
    return given.map((event, index) => recordOfStructuredEvent(event, index, topic))
  },
}

/** The forms of a body that brings records, for the OpenAPI document. */
export const RECORD_FORMS: Readonly<Record<string, Shape<unknown> | undefined>> = {
  ...Object.fromEntries(Object.keys(READERS).map((type) => [type, undefined])),
  'application/json': jsonRecords,
  'application/x-ndjson': jsonRecord,
  'application/jsonl': jsonRecord,
}

/** The records of a request, in their order. Throws UNSUPPORTED_MEDIA_TYPE, BAD_REQUEST, ENCODING_MISMATCH. */
export function recordsIn(request: RecordsRequest, topic: Encodings): IncomingRecord[] {
  const { mediaType, query } = request
  const isEvent = isBinaryEvent(request.headers)
  const reader = Object.hasOwn(READERS, mediaType ?? '') ? READERS[mediaType ?? ''] : undefined
  if (isEvent && !mediaType?.startsWith('application/cloudevents')) {
    return [{ ...recordOfBinaryEvent(request.headers, request, topic), ...partitionOnly(query) }]
  }
  if (reader === undefined) throw unsupportedType(mediaType, Object.keys(READERS))
  if (reader !== RAW) refuseRawQuery(query)
  const records = reader(request, topic)
  if (records.length === 0) throw badRequest('the body holds no record')
  return records
}

function partitionOnly({ partition, ...others }: RawRecordQuery): Partial<IncomingRecord> {
  refuseRawQuery(others)
  return partition === undefined ? {} : { partition }
}

function refuseRawQuery(query: RawRecordQuery): void {
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined)
      throw badRequest(`query parameter "${name}": the records of this body say it themselves`)
  }
}

function exactJson(bytes: Buffer): unknown {
  const text = bodyText(bytes)
  const value = parsedJson(text)
  refuseInexact(text)
  return value
}

/** So many small records keep the broker busy for a moment, and no longer. */
export const RECORDS_PER_REQUEST_MAX = 10_000

function refuseTooMany(count: number): void {
  if (count > RECORDS_PER_REQUEST_MAX)
    throw new MillraceError('BATCH_TOO_LARGE', {
      message: `a request brings at most ${RECORDS_PER_REQUEST_MAX} records`,
    })
}

const HEADER_PREFIX = 'millrace-header-'

/** Record headers of a raw request; HTTP has given their bytes as Latin-1, which UTF-8 is read out of. */
function recordHeadersIn(headers: IncomingHttpHeaders): WireHeaders | null {
  let found: WireHeaders | null = null
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(HEADER_PREFIX) || typeof value !== 'string') continue
    found ??= {}
    found[name.slice(HEADER_PREFIX.length)] = Buffer.from(value, 'latin1').toString()
  }
  return found
}
