/**
 * CloudEvents 1.0 as records, the way the CloudEvents binding for Kafka lays them out, so that what reads them there reads
 * them here: the attributes are headers `ce_...`, the content type the header `content-type`, the data the value, the
 * extension `partitionkey` the key. `source` and `id` together name an event, so they are the dedup id.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Encoding } from '../../protocol/encodings.js'
import type { Wire, WireHeaders } from '../../protocol/record.js'
import {
  checkedDedupId,
  type Encodings,
  type IncomingRecord,
  readTimestamp,
  refuseInexact,
} from './incoming-record.js'
import { badRequest, printable } from './shape.js'
import { bytesMarkedIn, wireOfBytes, wireOfJson, wireOfText } from './wire-codec.js'

const REQUIRED = ['id', 'source', 'type'] as const
const ATTRIBUTE_NAME = /^[a-z0-9]{1,64}$/
const SPEC_VERSION = '1.0'

type Attributes = Readonly<Record<string, string>>

/** Whether a request is a CloudEvent in binary mode. */
export const isBinaryEvent = (headers: IncomingHttpHeaders): boolean =>
  headers['ce-specversion'] !== undefined

/** A request in binary mode: attributes in its headers, data in its body. Throws BAD_REQUEST, ENCODING_MISMATCH. */
export function recordOfBinaryEvent(
  headers: IncomingHttpHeaders,
  body: { readonly mediaType: string | undefined; readonly bytes: Buffer },
  topic: Encodings,
): IncomingRecord {
  const attributes: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('ce-') && typeof value === 'string') attributes[name.slice(3)] = percentDecoded(value)
  }
  const contentType = headers['content-type']
  const isJson = body.mediaType === undefined || isJsonType(body.mediaType)
  let value: Wire
  if (body.bytes.length === 0 && body.mediaType === undefined) value = null
  else if (isJson && topic.valueEncoding === 'msgpack') value = packedJson(body.bytes)
  else value = wireOfBytes(body.bytes, topic.valueEncoding, 'the event: data')
  return recordOf(attributes, { value, contentType }, topic, 'the event')
}

/** An event in structured mode, or one of a batch. Throws BAD_REQUEST, ENCODING_MISMATCH. */
export function recordOfStructuredEvent(event: unknown, index: number, topic: Encodings): IncomingRecord {
  const name = `event ${index}`
  if (typeof event !== 'object' || event === null || Array.isArray(event))
    throw badRequest(`${name}: expected an object`)
  const { data, data_base64: base64, ...others } = event as Record<string, unknown>
  if (data !== undefined && base64 !== undefined) throw badRequest(`${name}: has data and data_base64`)
  const attributes: Record<string, string> = {}
  for (const [attribute, value] of Object.entries(others)) {
    if (value === null) continue
    if (typeof value === 'object')
      throw badRequest(`${name}: attribute "${printable(attribute)}" is an object`)
    attributes[attribute] = String(value)
  }
  const { datacontenttype: contentType, ...rest } = attributes
  const value =
    base64 === undefined
      ? wireOfData(data, topic.valueEncoding, name)
      : wireOfBytes(decodedBase64(base64, name), topic.valueEncoding, `${name}: data`)
  return recordOf(rest, { value, contentType: contentType ?? 'application/json' }, topic, name)
}

/** `data` of an event in JSON is a JSON value, whatever the topic holds. */
function wireOfData(data: unknown, encoding: Encoding, name: string): Wire {
  if (data === undefined || data === null) return null
  if (encoding !== 'bytes') return wireOfJson(data, encoding, `${name}: data`)
  return Buffer.from(typeof data === 'string' ? data : JSON.stringify(data))
}

function recordOf(
  attributes: Attributes,
  { value, contentType }: { value: Wire; contentType: string | undefined },
  topic: Encodings,
  name: string,
): IncomingRecord {
  const { id, source, specversion, time, partitionkey } = attributes
  if (specversion !== SPEC_VERSION) throw badRequest(`${name}: specversion is not ${SPEC_VERSION}`)
  for (const required of REQUIRED) {
    if (!attributes[required]) throw badRequest(`${name}: attribute "${required}" is missing or empty`)
  }
  const headers: WireHeaders = {}
  for (const [attribute, text] of Object.entries(attributes)) {
    if (!ATTRIBUTE_NAME.test(attribute))
      throw badRequest(
        `${name}: attribute names are lower-case letters and digits, not "${printable(attribute)}"`,
      )
    headers[`ce_${attribute}`] = text
  }
  if (contentType !== undefined) headers['content-type'] = contentType
  return {
    key:
      partitionkey === undefined
        ? null
        : wireOfText(partitionkey, topic.keyEncoding, `${name}: partitionkey`),
    value,
    headers,
    timestamp: time === undefined ? undefined : readTimestamp(time, name),
    partition: undefined,
    dedupId: checkedDedupId(`${source} ${id}`, `${name}: source and id`),
  }
}

const isJsonType = (type: string): boolean => type === 'application/json' || type.endsWith('+json')

function packedJson(bytes: Buffer): Wire {
  const what = 'the event: data'
  const text = wireOfBytes(bytes, 'json', what) as string | null
  if (text === null) return null
  refuseInexact(text)
  return wireOfJson(JSON.parse(text), 'msgpack', what)
}

function decodedBase64(given: unknown, name: string): Uint8Array {
  const bytes = bytesMarkedIn({ base64: given })
  if (bytes === undefined) throw badRequest(`${name}: data_base64 is no base64`)
  return bytes
}

/** Header values of the HTTP binding are percent-encoded where they are not printable ASCII. */
function percentDecoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    throw badRequest(`header value "${printable(value)}" is not percent-encoded UTF-8`)
  }
}
