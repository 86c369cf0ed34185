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
  | { readonly kind: 'choice'; readonly numbers: Readonly<Record<string, number>> }
  | { readonly kind: 'nullable' | 'tail'; readonly of: Form }
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

/** A field that a released frame or tuple gained later: see tail(). */
export interface Tail<T> extends Shape<T | undefined> {
  readonly form: { readonly kind: 'tail'; readonly of: Form }
}

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

/** One of a few names, each with its number on the wire. */
export function choice<Name extends string>(numbers: Readonly<Record<Name, number>>): Shape<Name> {
  const names = new Map(Object.entries<number>(numbers).map(([name, number]) => [number, name as Name]))
  const expects = `one of ${[...names].map(([number, name]) => `${number} (${name})`).join(', ')}`
  return {
    form: { kind: 'choice', numbers },
    expects,
    read: (value, path) => names.get(value as number) ?? refuse(path, expects, value),
    write: (value) => numbers[value],
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

/**
 * A field added to a released frame or tuple, behind all that it had. Missing and nil read as undefined, which means what
 * was before the field; undefined ones at the end are not written, so that frames without them keep their bytes.
 */
export function tail<T>(shape: Shape<T>): Tail<T> {
  return {
    form: { kind: 'tail', of: shape.form },
    expects: `${shape.expects}, or nothing`,
    read: (value, path) => (value === null || value === undefined ? undefined : shape.read(value, path)),
    write: (value) => (value === undefined ? undefined : shape.write(value)),
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

type TailNames<F extends Fields> = {
  [Name in keyof F]: F[Name] extends Tail<unknown> ? Name : never
}[keyof F]

/** What fields hold: those of tail() may be left out. */
export type FieldsOf<F extends Fields> = {
  -readonly [Name in Exclude<keyof F, TailNames<F>>]: TypeOf<F[Name]>
} & {
  -readonly [Name in TailNames<F>]?: TypeOf<F[Name]>
}

/** Named fields in their order, as the elements of an array: what frames and tuples have in common. */
export interface FieldList<F extends Fields> {
  /**
   * Reads the elements from index `first` on. Those beyond the known fields are passed over, so that a later version may
   * add some; a missing one reads as nil. `path` names the list in errors, where it was not named before.
   */
  read(elements: readonly unknown[], first: number, path?: string): FieldsOf<F>
  /** Adds the fields to `elements`, but not the empty ones of tail() at the end. */
  write(fields: FieldsOf<F>, elements: unknown[]): unknown[]
}

/** `root` is the path of a list that is found at one place only: then no path is put together while it is read. */
export function fieldList<F extends Fields>(fields: F, root?: string): FieldList<F> {
  const names = Object.keys(fields)
  const rootPaths = root === undefined ? undefined : names.map((name) => `${root}.${name}`)
  const shapes = Object.values(fields)
  const tails = shapes.filter(({ form }) => form.kind === 'tail').length
  if (shapes.slice(shapes.length - tails).some(({ form }) => form.kind !== 'tail')) {
    throw new Error('a field of tail() stands before one that is none')
  }
  return {
    read(elements, first, path) {
      const result: Record<string, unknown> = {}
      for (let i = 0; i < names.length; i++) {
        const name = names[i] as string
        const at = rootPaths === undefined ? `${path}.${name}` : (rootPaths[i] as string)
        result[name] = (shapes[i] as Shape<unknown>).read(elements[first + i], at)
      }
      return result as FieldsOf<F>
    },
    write(values, elements) {
      for (let i = 0; i < names.length; i++) {
        const value = (values as Record<string, unknown>)[names[i] as string]
        elements.push((shapes[i] as Shape<unknown>).write(value))
      }
      for (let left = tails; left > 0 && elements.at(-1) === undefined; left--) elements.pop()
      return elements
    },
  }
}

/** Named fields, as a list in the order of their names here. `root` as of fieldList. */
export function tuple<F extends Fields>(fields: F, root?: string): Shape<FieldsOf<F>> {
  const inner = fieldList(fields, root)
  const forms = Object.fromEntries(Object.entries(fields).map(([name, { form }]) => [name, form]))
  const expects = `a list of ${Object.keys(fields).length} fields`
  return {
    form: { kind: 'tuple', fields: forms },
    expects,
    read: (value, path) => (Array.isArray(value) ? inner.read(value, 0, path) : refuse(path, expects, value)),
    write: (value) => inner.write(value, []),
  }
}
