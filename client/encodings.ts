import { Packr, Unpackr } from 'msgpackr'
import type { Encoding } from '../protocol/encodings.js'
import { MillraceError } from '../protocol/error-codes.js'
import { inexactNumberIn } from '../protocol/json-numbers.js'
import type { Wire } from '../protocol/record.js'
import { walkFaultText, walkValue } from '../protocol/walk.js'
import { issuesText, type SchemaInput, type SchemaOutput, type StandardSchemaV1 } from './standard-schema.js'

/**
 * How keys or values of a topic become what travels, and back. `In` is what is sent, `Out` what is read; they differ only
 * where a schema transforms. null and undefined travel as "none" in every encoding and read as null, without the codec
 * being asked, unless `hasSchema`: then the schema decides whether null is a value.
 *
 * Both ways may return a promise (a schema that validates asynchronously).
 */
export interface Codec<In, Out = In> {
  readonly encoding: Encoding
  /** Whether `encode` and `decode` want to see null, too. */
  readonly hasSchema: boolean
  /** Throws or rejects with ENCODING_MISMATCH or SCHEMA_MISMATCH. */
  readonly encode: (value: In) => Wire | Promise<Wire>
  /** Throws or rejects with ENCODING_MISMATCH or SCHEMA_MISMATCH. */
  readonly decode: (wire: Wire) => Out | Promise<Out>
}

/** Any codec, whatever it takes and gives. */
export type AnyCodec = Codec<never, unknown>
export type InputOf<C extends AnyCodec> = C extends Codec<infer In, unknown> ? In : never
export type OutputOf<C extends AnyCodec> = C extends Codec<never, infer Out> ? Out : never

/** Text, as UTF-8. */
export const text = (): Codec<string> => TEXT

/** Bytes as they are. What is read is a copy: keeping it does not keep the batch. */
export const bytes = (): Codec<Uint8Array> => BYTES

/**
 * Any value that plain MessagePack has: null, booleans, numbers, bigint (64 bits), text, bytes, arrays, objects. A Date,
 * Map or Set is refused, because it would be read as something else. A whole number beyond 2^53 is read as a bigint.
 */
export function msgpack<T = unknown>(): Codec<T> {
  return MSGPACK as Codec<T>
}

/**
 * JSON. With a schema (any Standard Schema: Zod, Valibot, ArkType, ...) values are checked when they are sent and when
 * they are read, and have the schema's types; what is sent is the value as given, what is read is the schema's output.
 * Without one, `json<Order>()` trusts both sides. A bigint, NaN or Infinity is refused, because JSON has none; so is, when
 * read, a whole number that others wrote and that JavaScript would round.
 */
export function json<T>(): Codec<T>
export function json<S extends StandardSchemaV1>(schema: S): Codec<SchemaInput<S>, SchemaOutput<S>>
export function json(schema?: StandardSchemaV1): Codec<unknown> {
  return schema === undefined ? JSON_TRUSTED : jsonWith(schema)
}

/** The same codec where "none" is a value too, so that a record may delete its key: its type gets `| null`. */
export function nullable<In, Out>(codec: Codec<In, Out>): Codec<In | null, Out | null> {
  return {
    encoding: codec.encoding,
    hasSchema: false,
    encode: (value) => (value === null ? null : codec.encode(value)),
    decode: (wire) => (wire === null ? null : codec.decode(wire)),
  }
}

/** Text that survives the way to UTF-8 and back; a lone surrogate would silently become U+FFFD. */
export function isWellFormed(value: string): boolean {
  return (value as string & { isWellFormed?(): boolean }).isWellFormed?.() ?? true
}

const mismatch = (message: string, cause?: unknown): MillraceError =>
  new MillraceError('ENCODING_MISMATCH', { message, cause })

const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`

const TEXT: Codec<string> = {
  encoding: 'text',
  hasSchema: false,
  encode(value) {
    if (typeof value !== 'string') throw mismatch(`text() takes a string, not ${kindOf(value)}`)
    if (!isWellFormed(value)) throw mismatch('the text has a lone surrogate, which UTF-8 cannot carry')
    return value
  },
  decode: (wire) => (typeof wire === 'string' ? wire : notText()),
}

const BYTES: Codec<Uint8Array> = {
  encoding: 'bytes',
  hasSchema: false,
  encode(value) {
    if (!(value instanceof Uint8Array)) throw mismatch(`bytes() takes a Uint8Array, not ${kindOf(value)}`)
    return value
  },
  decode: (wire) => (wire instanceof Uint8Array ? wire.slice() : notBinary()),
}

const PLAIN = { useRecords: false, variableMapSize: true, encodeUndefinedAsNil: true } as const
const packr = new Packr(PLAIN)
// The types lag behind: 'auto' is a number where that is exact, else a bigint.
const int64AsType = 'auto' as unknown as 'number'
const unpackr = new Unpackr({ ...PLAIN, mapsAsObjects: true, int64AsType, copyBuffers: true })
/** Deep enough for any document, shallow enough for the stack. */
const PLAIN_LIMITS = { nestingMax: 100, valuesMax: 10_000_000 }

const MSGPACK: Codec<unknown> = {
  encoding: 'msgpack',
  hasSchema: false,
  encode(value) {
    assertPlain(value, PLAIN_LIMITS.nestingMax)
    try {
      return new Uint8Array(packr.pack(value))
    } catch (cause) {
      throw mismatch(`the value cannot be written as MessagePack: ${textOf(cause)}`, cause)
    }
  },
  decode(wire) {
    if (!(wire instanceof Uint8Array)) return notBinary()
    const end = walkValue(wire, 0, PLAIN_LIMITS)
    if (end !== wire.length) {
      throw mismatch(`not plain MessagePack: ${end < 0 ? walkFaultText(end) : 'bytes follow the value'}`)
    }
    return unpackr.unpack(wire)
  },
}

/** What the packer would silently make something else of: an array of a Set, nothing of a function. */
function assertPlain(value: unknown, nestingLeft: number): void {
  if (typeof value === 'function' || typeof value === 'symbol')
    throw mismatch(`MessagePack has no ${typeof value}`)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return
  if (nestingLeft === 0) throw mismatch('the value is nested too deeply, or holds itself')
  if (Array.isArray(value)) {
    for (const item of value) assertPlain(item, nestingLeft - 1)
    return
  }
  if (NOT_PLAIN.some((type) => value instanceof type) || ArrayBuffer.isView(value)) {
    throw mismatch(`MessagePack has no ${value.constructor.name}`)
  }
  for (const name in value) assertPlain((value as Record<string, unknown>)[name], nestingLeft - 1)
}

const NOT_PLAIN = [Date, Map, Set, RegExp, Error, ArrayBuffer, Promise] as const

const JSON_TRUSTED: Codec<unknown> = {
  encoding: 'json',
  hasSchema: false,
  encode: jsonText,
  decode: jsonValue,
}

function jsonWith(schema: StandardSchemaV1): Codec<unknown> {
  const { validate } = schema['~standard']
  return {
    encoding: 'json',
    hasSchema: true,
    encode(value) {
      const result = validate(value ?? null)
      if (!(result instanceof Promise)) return accepted(result, value) ? jsonOrNone(value) : null
      return result.then((settled) => (accepted(settled, value) ? jsonOrNone(value) : null))
    },
    decode(wire) {
      const value = wire === null ? null : jsonValue(wire)
      const result = validate(value)
      if (!(result instanceof Promise)) return outputOf(result)
      return result.then(outputOf)
    },
  }
}

type Validation = Awaited<ReturnType<StandardSchemaV1['~standard']['validate']>>

function outputOf(result: Validation): unknown {
  if (result.issues === undefined) return result.value
  throw new MillraceError('SCHEMA_MISMATCH', {
    message: `the value does not fit the schema: ${issuesText(result.issues)}`,
    details: { issues: issuesText(result.issues) },
  })
}

function accepted(result: Validation, value: unknown): boolean {
  outputOf(result)
  return value !== null && value !== undefined
}

const jsonOrNone = (value: unknown): string | null =>
  value === null || value === undefined ? null : jsonText(value)

function jsonText(value: unknown): string {
  let written: string | undefined
  try {
    written = JSON.stringify(value)
  } catch (cause) {
    throw mismatch(`the value cannot be written as JSON: ${textOf(cause)}`, cause)
  }
  if (written === undefined) throw mismatch(`JSON has no ${typeof value}`)
  // NaN and Infinity become `null` in silence. Only then is it worth walking the value again.
  if (written.includes('null')) JSON.stringify(value, refuseNonFinite)
  return written
}

function refuseNonFinite(name: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw mismatch(`JSON has no ${value}${name === '' ? '' : ` (at "${name}")`}`)
  }
  return value
}

function jsonValue(wire: Wire): unknown {
  if (typeof wire !== 'string') return notText()
  let value: unknown
  try {
    value = JSON.parse(wire)
  } catch (cause) {
    throw mismatch(`not JSON: ${textOf(cause)}`, cause)
  }
  const digits = inexactNumberIn(wire)
  if (digits !== undefined) throw mismatch(`${digits} would be rounded: JavaScript has no such number`)
  return value
}

function notText(): never {
  throw mismatch('the topic holds text here, and this is none')
}

function notBinary(): never {
  throw mismatch('the topic holds bytes here, and these are none')
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
