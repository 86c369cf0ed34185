import fc from 'fast-check'
import { Lying, Raw, Wide } from './messagepack.js'

/** One change to a tree of MessagePack values. Its numbers are read modulo what there is, so that any of them is one. */
export interface TreeEdit {
  /** Which value, counted in the order in which they are written. */
  readonly at: number
  readonly how: number
  readonly n: number
}

export const treeEdit: fc.Arbitrary<TreeEdit> = fc.record(
  { at: fc.nat(400), how: fc.nat(15), n: fc.nat(1000) },
  { noNullPrototype: true },
)

const NUMBERS = [
  0,
  1,
  2,
  7,
  255,
  65_535,
  65_536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 2,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 63,
  1e300,
  -1,
  -0.5,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -(2 ** 31),
]
const TEXTS = [
  '',
  'x',
  '__proto__',
  'constructor',
  '\ud800',
  'ä'.repeat(300),
  'a'.repeat(70_000),
  '..',
  '_millrace.changes',
  'a\u0000b',
  'retry',
]
/** Values of every type, most of them wrong wherever they stand. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  '',
  'text',
  new Uint8Array(),
  new Uint8Array(16),
  new Uint8Array(15),
  [],
  [[]],
  [null],
  {},
  { a: 1 },
  { a: { b: [] } },
  [[[[[[[[]]]]]]]],
  [1, 2, 3],
  Array.from({ length: 2000 }, () => 0),
]
/** What is no value of a frame: extensions, a reserved byte, headers that promise what never comes, keys that are none. */
const NO_VALUES = [
  [0xc1],
  [0xd4, 0x72, 0x40],
  [0xd6, 0xff, 0, 0, 0, 0],
  [0xc7, 0, 0x73],
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xc6, 0x7f, 0xff, 0xff, 0xff],
  [0x81, 0x01, 0x01],
  [0x81, 0x90, 0x01],
  [],
  [0xc0, 0xc0],
  [0x81, 0xa9, ...Buffer.from('__proto__'), 0x01],
  [0xc9, 0, 0, 0, 1, 5, 0],
  [0xdf, 0xff, 0xff, 0xff, 0xff],
]

/** Where a value stands. */
interface Place {
  readonly parent: unknown[]
  readonly index: number
}

/**
 * The tree with one value of it changed, in place where that can be. `others` are trees of the same session: some changes take a value from where it
 * stands in one of them. Lists and numbers are changed most, since most faults are a count that is off.
 */
export function editTree(tree: unknown, { at, how, n }: TreeEdit, others: readonly unknown[][]): unknown {
  const root: unknown[] = [tree]
  const places = [...placesIn(root)]
  const { parent, index } = places[at % places.length] as Place
  const value = parent[index]
  parent[index] = changed(value, { how, n, others, index })
  return root[0]
}

function* placesIn(parent: unknown[]): Generator<Place> {
  for (const [index, value] of parent.entries()) {
    yield { parent, index }
    if (Array.isArray(value)) yield* placesIn(value)
  }
}

function changed(
  value: unknown,
  { how, n, others, index }: { how: number; n: number; others: readonly unknown[][]; index: number },
): unknown {
  switch (how) {
    case 0:
      return structuredClone(VALUES[n % VALUES.length])
    case 1:
      return new Raw(NO_VALUES[n % NO_VALUES.length] as number[])
    case 2:
      return new Wide(value, [1, 2, 4, 8][n % 4] as number)
    case 3:
      return typeof value === 'string' || Array.isArray(value) || value instanceof Uint8Array
        ? new Lying(value, [1, -1, 2, 300, 70_000, 2 ** 31][n % 6] as number)
        : new Wide(value, 8)
    case 4: {
      const other = others[n % others.length]
      return other?.[index] ?? value
    }
    case 5: {
      const from = [...placesIn(others[n % others.length] ?? [])].map(({ parent, index }) => parent[index])
      const alike = from.filter(
        (each) => typeof each === typeof value && Array.isArray(each) === Array.isArray(value),
      )
      return alike[n % Math.max(1, alike.length)] ?? value
    }
    default:
      return ofOwnKind(value, n)
  }
}

/** Another value of the same type: a count off by one, a list with one more or less, an id with one bit changed. */
function ofOwnKind(value: unknown, n: number): unknown {
  if (typeof value === 'number') {
    const near = [value + 1, value - 1, value * 2, value + 2 ** 32]
    return n % 2 === 0 ? near[(n >> 1) % near.length] : NUMBERS[n % NUMBERS.length]
  }
  if (typeof value === 'string') {
    const near = [`${value}x`, value.slice(1), value.toUpperCase(), `${value}.dlq`, `${value}.g.retry`]
    return n % 2 === 0 ? near[(n >> 1) % near.length] : TEXTS[n % TEXTS.length]
  }
  if (value instanceof Uint8Array) return otherBytes(value, n)
  if (Array.isArray(value)) return otherList(value, n)
  if (typeof value === 'boolean') return !value
  return structuredClone(VALUES[n % VALUES.length])
}

function otherBytes(value: Uint8Array, n: number): Uint8Array {
  if (n % 4 === 0) return value.subarray(0, Math.max(0, value.length - 1 - (n % 3)))
  if (n % 4 === 1) return new Uint8Array(Buffer.concat([value, Buffer.alloc(1 + (n % 5), n)]))
  const copy = new Uint8Array(value)
  const at = n % Math.max(1, copy.length)
  if (copy.length > 0) copy[at] = (copy[at] as number) ^ (1 << (n % 8))
  return copy
}

function otherList(value: readonly unknown[], n: number): unknown[] {
  const at = n % Math.max(1, value.length)
  const copy = [...value]
  switch (n % 6) {
    case 0:
      return copy.slice(0, -1)
    case 1:
      return [...copy, copy.at(-1) ?? null]
    case 2:
      return [...copy.slice(0, at), ...copy.slice(at + 1)]
    case 3:
      return [...copy, ...Array.from({ length: 20 * n }, () => copy.at(-1) ?? 0)]
    case 4:
      return copy.reverse()
    default:
      return [...copy.slice(0, at), copy.at(at) ?? null, ...copy.slice(at)]
  }
}
