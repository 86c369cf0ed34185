/**
 * A small language for the fields of a frame: one description gives the TypeScript type, the check of what came from
 * the wire and the value to pack. Every check is a bound, so that nothing unexpected travels further than here.
 */

import { ENCODINGS, type Encoding, encodingName } from './encodings.js'
import { MillraceError } from './error-codes.js'
import { bytesFromHex, hexFromBytes } from './ids.js'
import { HARD_LIMITS } from './limits.js'

/** What a shape is made of: PROTOCOL.md's tables are held to it. */
export type Form =
  | { readonly kind: 'bool' | 'id' | 'encoding' | 'details' }
  | { readonly kind: 'uint' | 'text' | 'bytes'; readonly max: number }
  | { readonly kind: 'nullable'; readonly of: Form }
  | { readonly kind: 'list'; readonly of: Form; readonly max: number }
  | { readonly kind: 'tuple'; readonly fields: Readonly<Record<string, Form>> }

export interface Shape<T> {
  readonly form: Form
  /** For the error message: what was expected. */
  readonly expects: string
  /** Turns an unpacked MessagePack value into T, or throws BAD_FRAME naming `path`. */
  read(value: unknown, path: string): T
  /** Turns T into what the packer takes. */
  write(value: T): unknown
}

export type TypeOf<S> = S extends Shape<infer T> ? T : never

function refuse(path: string, expects: string, value: unknown): never {
  const got =
    value === null || value === undefined ? 'nothing' : Array.isArray(value) ? 'a list' : typeof value
  throw new MillraceError('BAD_FRAME', { message: `${path}: expected ${expects}, got ${got}` })
}

const same = <T>(value: T): unknown => value

/** A whole number from 0 to `max` (default 2^53 - 1). */
export function uint(max: number = HARD_LIMITS.uintMax): Shape<number> {
  const expects = `a whole number from 0 to ${max}`
  return {
    form: { kind: 'uint', max },
    expects,
    read: (value, path) =>
      typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max
        ? value
        : refuse(path, expects, value),
    write: same,
  }
}

export const uint32 = (): Shape<number> => uint(HARD_LIMITS.uint32Max)

export function bool(): Shape<boolean> {
  const expects = 'true or false'
  return {
    form: { kind: 'bool' },
    expects,
    read: (value, path) => (typeof value === 'boolean' ? value : refuse(path, expects, value)),
    write: same,
  }
}

export function text(charsMax: number): Shape<string> {
  const expects = `text of at most ${charsMax} characters`
  return {
    form: { kind: 'text', max: charsMax },
    expects,
    read: (value, path) =>
      typeof value === 'string' && value.length <= charsMax ? value : refuse(path, expects, value),
    write: same,
  }
}

/** Binary data; what `read` returns is a view into the frame. */
export function bytes(max: number): Shape<Uint8Array> {
  const expects = `at most ${max} bytes`
  return {
    form: { kind: 'bytes', max },
    expects,
    read: (value, path) =>
      value instanceof Uint8Array && value.length <= max ? value : refuse(path, expects, value),
    write: same,
  }
}

/** A 128-bit id: 16 bytes on the wire, 32 hex digits here. */
export function id<Id extends string>(): Shape<Id> {
  const expects = 'an id of 16 bytes'
  return {
    form: { kind: 'id' },
    expects,
    read: (value, path) =>
      value instanceof Uint8Array && value.length === 16
        ? (hexFromBytes(value) as Id)
        : refuse(path, expects, value),
    write: (value) => bytesFromHex(value),
  }
}

export function encoding(): Shape<Encoding> {
  const expects = 'the number of an encoding'
  return {
    form: { kind: 'encoding' },
    expects,
    read: (value, path) =>
      (typeof value === 'number' ? encodingName(value) : undefined) ?? refuse(path, expects, value),
    write: (value) => ENCODINGS[value],
  }
}

/** nil, or a value of `shape`. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return {
    form: { kind: 'nullable', of: shape.form },
    expects: `${shape.expects}, or nil`,
    read: (value, path) => (value === null || value === undefined ? null : shape.read(value, path)),
    write: (value) => (value === null ? null : shape.write(value)),
  }
}

export function list<T>(shape: Shape<T>, max: number): Shape<T[]> {
  const expects = `a list of at most ${max}`
  return {
    form: { kind: 'list', of: shape.form, max },
    expects,
    read: (value, path) => {
      if (!Array.isArray(value) || value.length > max) return refuse(path, expects, value)
      return value.map((item: unknown, index) => shape.read(item, `${path}[${index}]`))
    },
    write: (value) => value.map((item) => shape.write(item)),
  }
}

/** A map from text to text, numbers and booleans. */
export function details(): Shape<Record<string, string | number | boolean>> {
  const expects = 'a map from text to text, numbers and booleans'
  return {
    form: { kind: 'details' },
    expects,
    read: (value, path) => {
      if (
        typeof value !== 'object' ||
        value === null ||
        Array.isArray(value) ||
        value instanceof Uint8Array
      ) {
        return refuse(path, expects, value)
      }
      const entries = Object.entries(value)
      for (const [, item] of entries) {
        if (typeof item !== 'string' && typeof item !== 'number' && typeof item !== 'boolean')
          refuse(path, expects, item)
      }
      return Object.fromEntries(entries) as Record<string, string | number | boolean>
    },
    write: same,
  }
}

export type Fields = Readonly<Record<string, Shape<unknown>>>
export type FieldsOf<F extends Fields> = { -readonly [Name in keyof F]: TypeOf<F[Name]> }

/**
 * Named fields, as a list in the order of their names here. Fields beyond the known ones are passed over, so that a
 * later version may add some; a missing one reads as nil.
 */
export function tuple<F extends Fields>(fields: F): Shape<FieldsOf<F>> {
  const names = Object.keys(fields)
  const shapes = Object.values(fields)
  const forms = Object.fromEntries(names.map((name, i) => [name, (shapes[i] as Shape<unknown>).form]))
  return {
    form: { kind: 'tuple', fields: forms },
    expects: `a list of ${names.length} fields`,
    read: (value, path) => {
      if (!Array.isArray(value)) return refuse(path, `a list of ${names.length} fields`, value)
      const result: Record<string, unknown> = {}
      for (let i = 0; i < names.length; i++) {
        const name = names[i] as string
        result[name] = (shapes[i] as Shape<unknown>).read(value[i], `${path}.${name}`)
      }
      return result as FieldsOf<F>
    },
    write: (value) =>
      names.map((name, i) => (shapes[i] as Shape<unknown>).write((value as Record<string, unknown>)[name])),
  }
}
