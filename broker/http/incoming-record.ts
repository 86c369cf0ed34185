import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { inexactNumberIn } from '../../protocol/json-numbers.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { Wire, WireHeaders } from '../../protocol/record.js'
import { anything, badRequest, object, optional, printable, type Shape, text, uint } from './shape.js'
import { bytesMarkedIn, wireOfJson } from './wire-codec.js'

/** A record as a request brings it, its key and value as they will be written. */
export interface IncomingRecord {
  readonly key: Wire
  readonly value: Wire
  readonly headers: WireHeaders | null
  /** Milliseconds since 1970; undefined: now. */
  readonly timestamp: number | undefined
  /** Undefined: by the key. */
  readonly partition: number | undefined
  readonly dedupId: string | undefined
}

export interface Encodings {
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
}

/** A record of a JSON or NDJSON body. */
export const jsonRecord = object({
  key: optional(anything("By the topic's encoding; null or missing: none.")),
  value: anything(
    'By the topic\'s encoding: text, any JSON value, or `{"base64": "..."}` for bytes; null: none.',
  ),
  headers: optional(anything('An object; each value is text or `{"base64": "..."}`.')),
  timestamp: optional(anything('Milliseconds since 1970, or ISO 8601. Missing: now.')),
  partition: optional(
    uint({ max: HARD_LIMITS.uint32Max, about: "Missing: by the key's hash; without a key, any." }),
  ),
  dedupId: optional(
    text({
      charsMax: HARD_LIMITS.dedupIdCharsMax,
      about: "Within the topic's window a second record of this id is not written.",
    }),
  ),
})

/** What a record of a body is called in errors. */
export const recordName = (index: number): string => `record ${index}`

/** A value of a JSON body as a record. Throws BAD_REQUEST, ENCODING_MISMATCH. */
export function recordOfJson(given: unknown, index: number, topic: Encodings): IncomingRecord {
  const name = recordName(index)
  const fields = jsonRecord.read(given, name)
  return {
    key: wireOfJson(fields.key, topic.keyEncoding, `${name}: key`),
    value: wireOfJson(fields.value, topic.valueEncoding, `${name}: value`),
    headers: readHeaders(fields.headers, name),
    timestamp: readTimestamp(fields.timestamp, name),
    partition: fields.partition,
    dedupId: checkedDedupId(fields.dedupId, name),
  }
}

/** Throws BAD_REQUEST. Values are text, bytes, or bytes as JSON marks them. */
export function readHeaders(given: unknown, name: string): WireHeaders | null {
  if (given === undefined || given === null) return null
  if (typeof given !== 'object' || Array.isArray(given))
    throw badRequest(`${name}: headers: expected an object`)
  const headers: WireHeaders = {}
  const names = Object.keys(given)
  if (names.length > HARD_LIMITS.headersPerRecordMax)
    throw badRequest(`${name}: a record has at most ${HARD_LIMITS.headersPerRecordMax} headers`)
  for (const header of names) {
    const value = (given as Record<string, unknown>)[header]
    const wire = typeof value === 'string' || value instanceof Uint8Array ? value : bytesMarkedIn(value)
    if (wire === undefined || header === '__proto__' || !isWellFormed(header) || !isWellFormed(wire))
      throw badRequest(`${name}: header "${printable(header)}" is neither text nor {"base64": "..."}`)
    headers[header] = wire
  }
  return headers
}

const isWellFormed = (wire: string | Uint8Array): boolean =>
  typeof wire !== 'string' || ((wire as string & { isWellFormed?(): boolean }).isWellFormed?.() ?? true)

/** Milliseconds, from a number or ISO 8601. Throws BAD_REQUEST. */
export function readTimestamp(given: unknown, name: string): number | undefined {
  if (given === undefined || given === null) return undefined
  const isText = typeof given === 'string' && /^\d{4}-\d\d-\d\dT/.test(given)
  const timestamp = isText ? Date.parse(given) : given
  if (Number.isSafeInteger(timestamp)) return timestamp as number
  throw badRequest(`${name}: a timestamp is a whole number of milliseconds, or ISO 8601`)
}

/** Throws BAD_REQUEST. */
export function checkedDedupId(dedupId: string | undefined, name: string): string | undefined {
  if (dedupId === undefined) return undefined
  const { dedupIdCharsMax } = HARD_LIMITS
  if (dedupId.length > 0 && dedupId.length <= dedupIdCharsMax && isWellFormed(dedupId)) return dedupId
  throw badRequest(`${name}: a dedupId is a text of 1 to ${dedupIdCharsMax} characters`)
}

/** Refuses JSON that reading would round. Throws ENCODING_MISMATCH. */
export function refuseInexact(text: string): void {
  const digits = inexactNumberIn(text)
  if (digits === undefined) return
  throw new MillraceError('ENCODING_MISMATCH', {
    message: `${digits} cannot be read exactly: a double has no such number; send text, or {"int64": "..."} to a topic of MessagePack`,
  })
}

/** For the OpenAPI document: one record, or several. */
export const jsonRecords: Shape<unknown> = {
  ...anything(),
  schema: { oneOf: [jsonRecord.schema, { type: 'array', items: jsonRecord.schema }] },
}
