import fc from 'fast-check'
import { ENCODINGS, type Encoding } from '../../protocol/encodings.js'
import type { Message } from '../../protocol/messages/index.js'
import type { WireRecord } from '../../protocol/records.js'
import type { Form } from '../../protocol/shape.js'

/** Any legal value of a field of this form. Sizes stay small, but pass the bounds where a header grows. */
export function valueFor(form: Form): fc.Arbitrary<unknown> {
  switch (form.kind) {
    case 'bool':
      return fc.boolean()
    case 'id':
      return fc
        .uint8Array({ minLength: 16, maxLength: 16 })
        .map((bytes) => Buffer.from(bytes).toString('hex'))
    case 'encoding':
      return fc.constantFrom(...(Object.keys(ENCODINGS) as Encoding[]))
    case 'details':
      return fc.dictionary(
        text(12).filter((key) => key !== '__proto__'),
        fc.oneof(text(40), fc.integer(), fc.boolean()),
        { maxKeys: 20, noNullPrototype: true },
      )
    case 'uint':
      return fc.oneof(
        fc.nat({ max: Math.min(form.max, 0x7fffffff) }),
        fc.maxSafeNat().map((n) => n % (form.max + 1)),
      )
    case 'text':
      return text(Math.min(form.max, 300))
    case 'bytes':
      return fc.oneof(bytes(Math.min(form.max, 40)), bytes(Math.min(form.max, 1500)))
    case 'choice':
      return fc.constantFrom(...Object.keys(form.numbers))
    case 'tail':
      return fc.option(valueFor(form.of), { freq: 3, nil: undefined })
    case 'nullable':
      return fc.option(valueFor(form.of), { freq: 3 })
    case 'list':
      return fc.array(valueFor(form.of), { maxLength: Math.min(form.max, 20) })
    case 'tuple':
      return fc.record(mapValues(form.fields, valueFor), { noNullPrototype: true })
  }
}

/** Any legal fields of a message. */
export function fieldsOf(message: Message): fc.Arbitrary<Record<string, unknown>> {
  return fc.record(
    mapValues(message.fields, (shape) => valueFor(shape.form)),
    { noNullPrototype: true },
  ) as fc.Arbitrary<Record<string, unknown>>
}

function mapValues<T, U>(values: Readonly<Record<string, T>>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]))
}

/** Well-formed text of at most `unitsMax` UTF-16 units: a code point may take two. */
const text = (unitsMax: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.string({ unit: 'binary', maxLength: Math.floor(unitsMax / 2) }),
    fc.string({ unit: 'grapheme-ascii', maxLength: unitsMax }),
  )

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ maxLength }).map((array) => new Uint8Array(array))

/** Records of one topic: timestamps are absolute, offset deltas the index. */
export interface Sample {
  keyTextual: boolean
  valueTextual: boolean
  records: {
    key: WireRecord['key']
    value: WireRecord['value']
    headers: WireRecord['headers']
    timestamp: number
  }[]
}

export const sample: fc.Arbitrary<Sample> = fc
  .record({ keyTextual: fc.boolean(), valueTextual: fc.boolean() })
  .chain(({ keyTextual, valueTextual }) =>
    fc
      .array(
        fc.record(
          {
            key: wire(keyTextual, 60),
            value: wire(valueTextual, 400),
            headers: fc.option(
              fc.dictionary(
                text(40).filter((name) => name !== '__proto__'),
                fc.oneof(text(40), bytes(40)),
                { maxKeys: 20, noNullPrototype: true },
              ),
              { freq: 2 },
            ),
            timestamp: fc.oneof(
              fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
              fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
            ),
          },
          { noNullPrototype: true },
        ),
        { minLength: 1, maxLength: 40 },
      )
      .map((records) => ({ keyTextual, valueTextual, records })),
  )

const wire = (textual: boolean, max: number): fc.Arbitrary<string | Uint8Array | null> =>
  fc.option<string | Uint8Array>(textual ? text(max) : bytes(max), { freq: 5 })

/** Bytes with a few of them changed, cut off or put in. */
export function mutated(original: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    at: fc.nat(Math.max(0, original.length - 1)),
    kind: fc.constantFrom('set', 'cut', 'insert', 'header'),
    byte: fc.nat(255),
  })
  // Type bytes of MessagePack do more harm than others.
  const headers = [
    0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7, 0xcb, 0xcf, 0xd3, 0xd4, 0xd9, 0xdb, 0xdd, 0xdf, 0xff,
  ]
  return fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
    const bytes = [...original]
    for (const { at, kind, byte } of changes) {
      if (kind === 'set') bytes[Math.min(at, bytes.length)] = byte
      else if (kind === 'header') bytes[Math.min(at, bytes.length)] = headers[byte % headers.length]!
      else if (kind === 'cut') bytes.splice(at, 1 + (byte % 8))
      else bytes.splice(at, 0, byte)
    }
    return Uint8Array.from(bytes)
  })
}
