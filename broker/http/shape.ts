/**
 * A small language for what requests and answers hold: one description gives the TypeScript type, the check of what came
 * from outside and the schema that the OpenAPI document shows, so that none of the three can say something else.
 */
import { MillraceError } from '../../protocol/error-codes.js'

/** What is used of JSON Schema. */
export interface JsonSchema {
  readonly [keyword: string]: unknown
}

export interface Shape<T> {
  readonly schema: JsonSchema
  /** For error messages: what was expected. */
  readonly expects: string
  /** An object's field that may be missing. */
  readonly isOptional?: boolean
  /** A JSON value as T. Throws BAD_REQUEST that names `path`. */
  read(value: unknown, path: string): T
  /** The text of a path or query parameter as T. Throws BAD_REQUEST that names `path`. */
  readText(text: string, path: string): T
}

export type TypeOf<S> = S extends Shape<infer T> ? T : never
export type Fields = Readonly<Record<string, Shape<unknown>>>
type OptionalNames<F extends Fields> = {
  [N in keyof F]: undefined extends TypeOf<F[N]> ? N : never
}[keyof F]
/** The object that fields describe. */
export type FieldsOf<F extends Fields> = {
  readonly [N in Exclude<keyof F, OptionalNames<F>>]: TypeOf<F[N]>
} & {
  readonly [N in OptionalNames<F>]?: TypeOf<F[N]>
}

/** The error of everything in a request that is not as documented. */
export const badRequest = (message: string): MillraceError => new MillraceError('BAD_REQUEST', { message })

function refuse(path: string, expects: string, value: unknown): never {
  throw badRequest(`${path}: expected ${expects}, got ${kindOf(value)}`)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return `"${printable(value)}"`
  return typeof value === 'object' ? 'an object' : String(value)
}

/** What a message may repeat of a text from outside. */
export const printable = (text: string): string =>
  text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100) + (text.length > 100 ? '…' : '')

function shape<T>(
  schema: JsonSchema,
  expects: string,
  isIt: (value: unknown) => boolean,
  fromText: (text: string) => unknown = (text) => text,
): Shape<T> {
  return {
    schema,
    expects,
    read: (value, path) => (isIt(value) ? (value as T) : refuse(path, expects, value)),
    readText(text, path) {
      const value = fromText(text)
      return isIt(value) ? (value as T) : refuse(path, expects, text)
    },
  }
}

const numberIn = (text: string): number => (/^(0|[1-9]\d{0,15})$/.test(text) ? Number(text) : Number.NaN)

/** A whole number. */
export function uint({
  min = 0,
  max = Number.MAX_SAFE_INTEGER,
  about,
}: {
  min?: number
  max?: number
  about?: string
} = {}): Shape<number> {
  return shape(
    described({ type: 'integer', minimum: min, maximum: max }, about),
    `a whole number from ${min} to ${max}`,
    (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
    numberIn,
  )
}

/** A number, whole or not. */
export const number = (about?: string): Shape<number> =>
  shape(described({ type: 'number' }, about), 'a number', (value) => Number.isFinite(value), Number)

export function bool(about?: string): Shape<boolean> {
  const texts: Record<string, boolean> = { true: true, false: false }
  return shape(
    described({ type: 'boolean' }, about),
    'true or false',
    (value) => typeof value === 'boolean',
    (text) => texts[text],
  )
}

export function text({ charsMax, about }: { charsMax: number; about?: string }): Shape<string> {
  return shape(
    described({ type: 'string', maxLength: charsMax }, about),
    `text of at most ${charsMax} characters`,
    (value) => typeof value === 'string' && value.length <= charsMax,
  )
}

/** A time as answers have it: ISO 8601, UTC, with milliseconds. */
export const isoTime = (about?: string): Shape<string> =>
  shape(
    described({ type: 'string', format: 'date-time' }, about),
    'a time such as 2026-01-31T12:00:00.000Z',
    (value) => typeof value === 'string',
  )

/** A time that a client has chosen: milliseconds since 1970 where no calendar has it. */
export function anyTime(about?: string): Shape<string | number> {
  const forms = { anyOf: [isoTime().schema, { type: 'integer' }] }
  return shape(
    described(forms, about),
    'a time',
    (value) => typeof value === 'string' || Number.isSafeInteger(value),
  )
}

export function choice<const T extends string>(options: readonly T[], about?: string): Shape<T> {
  return shape(described({ type: 'string', enum: options }, about), `one of ${options.join(', ')}`, (value) =>
    (options as readonly unknown[]).includes(value),
  )
}

/** Any JSON value. */
export const anything = (about?: string): Shape<unknown> =>
  shape(described({}, about), 'any value', (value) => value !== undefined)

/** An object of whatever fields. */
export const anyObject = (about?: string): Shape<object> =>
  shape(
    described({ type: 'object' }, about),
    'an object',
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  )

export function list<T>(of: Shape<T>, { max, about }: { max?: number; about?: string } = {}): Shape<T[]> {
  const most = max === undefined ? '' : ` of at most ${max}`
  return {
    schema: described(
      { type: 'array', items: of.schema, ...(max === undefined ? {} : { maxItems: max }) },
      about,
    ),
    expects: `a list${most}`,
    read(value, path) {
      if (!Array.isArray(value) || value.length > (max ?? Number.POSITIVE_INFINITY))
        return refuse(path, `a list${most}`, value)
      return value.map((item, index) => of.read(item, `${path}[${index}]`))
    },
    readText: (text, path) => refuse(path, `a list${most}`, text),
  }
}

export function nullable<T>(of: Shape<T>): Shape<T | null> {
  return {
    schema: { anyOf: [of.schema, { type: 'null' }] },
    expects: `${of.expects}, or null`,
    read: (value, path) => (value === null ? null : of.read(value, path)),
    readText: (text, path) => of.readText(text, path),
  }
}

/** A field or parameter that may be missing. */
export function optional<T>(of: Shape<T>): Shape<T | undefined> {
  return { ...of, isOptional: true }
}

/** An object of these fields and no others. */
export function object<F extends Fields>(fields: F, about?: string): Shape<FieldsOf<F>> {
  const required = Object.keys(fields).filter((name) => !fields[name]?.isOptional)
  const properties = Object.fromEntries(Object.entries(fields).map(([name, { schema }]) => [name, schema]))
  return {
    schema: described(
      {
        type: 'object',
        properties,
        ...(required.length === 0 ? {} : { required }),
        additionalProperties: false,
      },
      about,
    ),
    expects: 'an object',
    read(value, path) {
      if (typeof value !== 'object' || value === null || Array.isArray(value))
        return refuse(path, 'an object', value)
      return readFields(fields, value as Record<string, unknown>, (name) => `${path}.${name}`) as FieldsOf<F>
    },
    readText: (text, path) => refuse(path, 'an object', text),
  }
}

function readFields(
  fields: Fields,
  values: Readonly<Record<string, unknown>>,
  pathOf: (name: string) => string,
): Record<string, unknown> {
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(fields, name))
      throw badRequest(
        `${pathOf(printable(name))}: not known here; known are ${Object.keys(fields).join(', ')}`,
      )
  }
  const read: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) {
    const isMissing = !Object.hasOwn(values, name)
    if (isMissing && field.isOptional) continue
    read[name] = field.read(isMissing ? undefined : values[name], pathOf(name))
  }
  return read
}

/** Path parameters, decoded by the router. Throws BAD_REQUEST, or what a shape throws. */
export function readParameters<F extends Fields>(
  fields: F,
  texts: Readonly<Record<string, string>>,
): FieldsOf<F> {
  const read: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(fields)) read[name] = field.readText(texts[name] ?? '', name)
  return read as FieldsOf<F>
}

/** The query of a URL: each parameter at most once, none that is not known. Throws BAD_REQUEST. */
export function readQuery<F extends Fields>(fields: F, url: string, { isLenient = false } = {}): FieldsOf<F> {
  const read: Record<string, unknown> = {}
  const start = url.indexOf('?')
  const query = start === -1 ? '' : url.slice(start + 1).replace(/#.*$/s, '')
  for (const part of query.split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decoded(equals === -1 ? part : part.slice(0, equals))
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (field === undefined) {
      if (isLenient) continue
      const known = Object.keys(fields).join(', ')
      throw badRequest(
        `query parameter "${printable(name)}": not known here; ${known === '' ? 'there are none' : `known are ${known}`}`,
      )
    }
    if (Object.hasOwn(read, name)) throw badRequest(`query parameter "${name}" is there twice`)
    read[name] = field.readText(
      equals === -1 ? '' : decoded(part.slice(equals + 1)),
      `query parameter "${name}"`,
    )
  }
  for (const [name, field] of Object.entries(fields)) {
    if (!field.isOptional && !Object.hasOwn(read, name))
      throw badRequest(`query parameter "${name}" is missing`)
  }
  return read as FieldsOf<F>
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw badRequest(`the query is not percent-encoded UTF-8: "${printable(text)}"`)
  }
}

/** A shape with a sentence for the documentation. */
function described(schema: JsonSchema, about: string | undefined): JsonSchema {
  return about === undefined ? schema : { ...schema, description: about }
}
