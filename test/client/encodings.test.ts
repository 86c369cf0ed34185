import { describe, expect, it } from 'vitest'
import { bytes, type Codec, json, MillraceError, msgpack, nullable, text } from '../../client/index.js'

const encode = <T>(codec: Codec<T, unknown>, value: unknown): unknown => codec.encode(value as T)

const refusal = (act: () => unknown): string => {
  try {
    act()
  } catch (error) {
    if (error instanceof MillraceError) return `${error.code}: ${error.message}`
    throw error
  }
  return 'nothing was refused'
}

describe('json', () => {
  it('refuses what JSON cannot say instead of changing it', () => {
    expect(refusal(() => encode(json<unknown>(), { a: 1n }))).toMatch(/^ENCODING_MISMATCH: .*BigInt/)
    expect(refusal(() => encode(json<unknown>(), { price: Number.NaN }))).toBe(
      'ENCODING_MISMATCH: JSON has no NaN (at "price")',
    )
    expect(refusal(() => encode(json<unknown>(), [null, Number.POSITIVE_INFINITY]))).toMatch(/Infinity/)
    expect(refusal(() => encode(json<unknown>(), () => 1))).toBe('ENCODING_MISMATCH: JSON has no function')
    const circle: { self?: unknown } = {}
    circle.self = circle
    expect(refusal(() => encode(json<unknown>(), circle))).toMatch(/^ENCODING_MISMATCH/)
    expect(encode(json<unknown>(), { a: null, b: 'null' })).toBe('{"a":null,"b":"null"}')
  })

  it('refuses text that is no JSON when it reads', () => {
    expect(refusal(() => json<unknown>().decode('{'))).toMatch(/^ENCODING_MISMATCH: not JSON/)
    expect(refusal(() => json<unknown>().decode(new Uint8Array(1)))).toMatch(/^ENCODING_MISMATCH/)
  })

  it('checks with a schema both ways, and reads what the schema makes of it', () => {
    const upper = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        types: undefined as { input: string; output: string } | undefined,
        validate: (value: unknown) =>
          typeof value === 'string'
            ? { value: value.toUpperCase() }
            : { issues: [{ message: 'no text', path: ['a', { key: 0 }, 'b'] }, { message: 'second' }] },
      },
    }
    const codec = json(upper)
    expect(codec.encode('abc')).toBe('"abc"')
    expect(codec.decode('"abc"')).toBe('ABC')
    expect(refusal(() => encode(codec, 7))).toBe(
      'SCHEMA_MISMATCH: the value does not fit the schema: a[0].b: no text; second',
    )
    expect(refusal(() => codec.decode(null))).toMatch(/^SCHEMA_MISMATCH/)
  })
})

describe('msgpack', () => {
  it('carries plain values exactly', () => {
    const values = [
      null,
      true,
      -1,
      2 ** 53,
      1.5,
      'ü',
      new Uint8Array([1, 2]),
      [1, [2]],
      { a: { b: null } },
      2n ** 63n,
    ]
    for (const value of values) {
      expect(msgpack().decode(encode(msgpack(), value) as Uint8Array)).toEqual(value)
    }
  })

  it('refuses what other languages could not read, and bytes that are none', () => {
    for (const value of [new Date(), new Set([1]), /x/, new Error('x'), new Map([[1, 2]]), 2n ** 64n]) {
      expect(refusal(() => encode(msgpack(), value))).toMatch(/^ENCODING_MISMATCH/)
    }
    expect(refusal(() => msgpack().decode(new Uint8Array([0x91])))).toMatch(/^ENCODING_MISMATCH/)
    expect(refusal(() => msgpack().decode(new Uint8Array([1, 2])))).toMatch(/bytes follow/)
    // A record definition, an extension of msgpackr's own.
    expect(refusal(() => msgpack().decode(new Uint8Array([0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61])))).toMatch(
      /extension/,
    )
  })

  it('gives values that own their bytes', () => {
    const wire = msgpack().encode(new Uint8Array([1, 2, 3])) as Uint8Array
    const value = msgpack<Uint8Array>().decode(wire) as Uint8Array
    wire.fill(0)
    expect(value).toEqual(new Uint8Array([1, 2, 3]))
  })
})

describe('text and bytes', () => {
  it('refuse each other', () => {
    expect(refusal(() => encode(text(), new Uint8Array(1)))).toMatch(/^ENCODING_MISMATCH/)
    expect(refusal(() => encode(bytes(), 'x'))).toMatch(/^ENCODING_MISMATCH/)
    expect(refusal(() => text().decode(new Uint8Array(1)))).toMatch(/^ENCODING_MISMATCH/)
    expect(refusal(() => bytes().decode('x'))).toMatch(/^ENCODING_MISMATCH/)
  })

  it('give bytes that own their memory', () => {
    const wire = new Uint8Array([1, 2, 3])
    const value = bytes().decode(wire) as Uint8Array
    wire.fill(0)
    expect(value).toEqual(new Uint8Array([1, 2, 3]))
  })

  it('take null only where they are nullable', () => {
    expect(nullable(text()).encode(null)).toBeNull()
    expect(nullable(text()).decode(null)).toBeNull()
    expect(nullable(text()).encode('x')).toBe('x')
  })
})
