import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MillraceError } from '../../../protocol/error-codes.js'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import * as exported from '../../../protocol/messages/index.js'
import { correlationIdOf, MESSAGES, type Message, messageOfOpcode } from '../../../protocol/messages/index.js'
import { fieldsOf, mutated } from '../arbitraries.js'

const anyMessage = fc
  .constantFrom(...MESSAGES)
  .chain((message) => fc.record({ message: fc.constant(message), fields: fieldsOf(message) }))

const readAgain = (message: Message, bytes: Uint8Array): unknown => {
  const frame = unpackFrame(bytes)
  expect(frame[0]).toBe(message.opcode)
  return message.read(frame)
}

describe('the messages', () => {
  it('are all listed, each with an opcode and a name of its own', () => {
    const isMessage = (value: unknown): value is Message =>
      typeof value === 'object' && value !== null && 'opcode' in value
    expect(new Set(MESSAGES)).toEqual(new Set(Object.values(exported).filter(isMessage)))
    expect(new Set(MESSAGES.map(({ opcode }) => opcode)).size).toBe(MESSAGES.length)
    expect(new Set(MESSAGES.map(({ name }) => name)).size).toBe(MESSAGES.length)
    for (const message of MESSAGES) expect(messageOfOpcode(message.opcode)).toBe(message)
    expect(messageOfOpcode(255)).toBeUndefined()
    expect(messageOfOpcode('1')).toBeUndefined()
  })

  for (const message of MESSAGES) {
    it(`${message.name} comes back from the wire as it was sent`, () => {
      fc.assert(
        fc.property(fieldsOf(message), (fields) => {
          expect(readAgain(message, packFrame(message.write(fields)))).toEqual(fields)
        }),
        { numRuns: 60 },
      )
    })
  }

  it('come back the same from memory that is a Buffer and lies inside another', () => {
    fc.assert(
      fc.property(anyMessage, fc.nat(7), ({ message, fields }, shift) => {
        const packed = packFrame(message.write(fields))
        const buffer = Buffer.alloc(packed.length + 16, 0xc1)
        buffer.set(packed, shift)
        const back = readAgain(message, buffer.subarray(shift, shift + packed.length))
        expect(plain(back)).toEqual(fields)
      }),
      { numRuns: 200 },
    )
  })

  it('throw nothing but BAD_FRAME when their bytes are damaged', () => {
    const damaged = anyMessage.chain(({ message, fields }) => mutated(packFrame(message.write(fields))))
    fc.assert(
      fc.property(damaged, (bytes) => {
        let frame: unknown[]
        try {
          frame = unpackFrame(bytes)
          messageOfOpcode(frame[0])?.read(frame)
        } catch (error) {
          expect(error).toBeInstanceOf(MillraceError)
          expect((error as MillraceError).code).toBe('BAD_FRAME')
          return
        }
        expect(correlationIdOf(frame)).toBeGreaterThanOrEqual(0)
      }),
      { numRuns: 4000 },
    )
  })

  it('pass over elements that a later version adds, and read missing ones as nil', () => {
    expect(exported.ping.read([3, 7, 'later'])).toEqual({ correlationId: 7 })
    expect(exported.metadata.read([14, 7])).toEqual({
      correlationId: 7,
      names: null,
      after: null,
      limit: null,
    })
    expect(() => exported.fetch.read([20, 7])).toThrow(
      'FETCH.topicId: expected an id of 16 bytes, got nothing',
    )
  })

  it('name the field that is wrong', () => {
    const queries = [
      [0, 1, 0],
      [0, 3, 0],
    ]
    expect(() => exported.listOffsets.read([28, 1, new Uint8Array(16), queries])).toThrow(
      'LIST_OFFSETS.queries[1].at: expected a whole number from 0 to 2, got number',
    )
  })

  it('refuse numbers that are not whole, negative or beyond 2^53 - 1', () => {
    for (const bad of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, '1', null, true, 1n]) {
      expect(() => exported.goingAway.read([6, '', bad])).toThrow(MillraceError)
    }
    expect(exported.goingAway.read([6, '', 2 ** 53 - 1]).deadlineMs).toBe(2 ** 53 - 1)
  })
})

describe('the correlation id of a frame', () => {
  it('is its second element where the message has one, however wrong the rest', () => {
    expect(correlationIdOf([20, 77, 'no topic id'])).toBe(77)
  })

  it('is 0 where the message has none: the second element is something else', () => {
    expect(correlationIdOf([24, 77, 'no credit'])).toBe(0)
  })

  it('is taken from a frame of an unknown opcode', () => {
    expect(correlationIdOf([99, 77])).toBe(77)
  })

  it('is 0 where there is no uint32', () => {
    for (const second of [undefined, null, -1, 1.5, 2 ** 32, '7', [7]])
      expect(correlationIdOf([3, second])).toBe(0)
  })
})

/** Binary fields of a Buffer are Buffers; what they hold is compared. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]))
}
