import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EntryAssembler } from '../../../client/history/entry-assembler.js'
import { historyUrl } from '../../../client/history/history-url.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import { joined, someTopicId, storedEntries } from '../../support/entries.js'

const entries = storedEntries([10, 0, 300, 1, 5_000, 20], { baseOffset: 100, recordsPerEntry: 3 })
const whole = joined(entries.map(({ bytes }) => bytes))
const content = { topicId: someTopicId, partition: 0, baseOffset: 100, nextOffset: 118 }

function assembled(parts: readonly Uint8Array[], from = 0) {
  const assembler = new EntryAssembler(content, { from })
  const found = parts.map((part) => assembler.add(part)).filter((one) => one !== undefined)
  return { assembler, found }
}

describe('entries that come in parts', () => {
  it('are put together, whatever the parts', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 30 }), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), whole.length]
        const parts = at.slice(1).map((end, i) => whole.slice(at[i], end))
        const { assembler, found } = assembled(parts)
        expect(Buffer.compare(joined(found.map(({ bytes }) => bytes)), whole)).toBe(0)
        expect(found.at(-1)?.nextOffset).toBe(118)
        expect([assembler.isWhole, assembler.wholeBytes]).toEqual([true, whole.length])
      }),
      { numRuns: 100 },
    )
  })

  it('are left out where they end at or below the first that is wanted', () => {
    for (const [from, first] of [
      [100, 0],
      [102, 0],
      [103, 1],
      [110, 3],
      [117, 5],
    ] as const) {
      const wanted = joined(entries.slice(first).map(({ bytes }) => bytes))
      for (const parts of [[whole], [...whole].map((byte) => Uint8Array.of(byte))]) {
        const { found, assembler } = assembled(parts, from)
        expect(Buffer.compare(joined(found.map(({ bytes }) => bytes)), wanted), String(from)).toBe(0)
        expect(assembler.isWhole).toBe(true)
      }
    }
    expect(assembled([whole], 118).found).toEqual([])
  })

  it('go on behind the last whole one after a break', () => {
    const cut = (entries[0]?.bytes.length ?? 0) + (entries[1]?.bytes.length ?? 0) + 200
    const { assembler, found } = assembled([whole.slice(0, cut)])
    assembler.restart()
    expect(assembler.wholeBytes).toBe(cut - 200)
    const rest = assembler.add(whole.slice(assembler.wholeBytes))
    expect(
      Buffer.compare(joined([...found.map(({ bytes }) => bytes), rest?.bytes ?? new Uint8Array()]), whole),
    ).toBe(0)
  })

  it('are refused with any bit flipped, and nothing of that part is given or counted', () => {
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(7), (at, bit) => {
        const bytes = whole.slice()
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
        const assembler = new EntryAssembler(content, { from: 0 })
        let error: unknown
        try {
          assembler.add(bytes)
        } catch (thrown) {
          error = thrown
        }
        // A length that was made larger waits for bytes that never come.
        if (error === undefined) expect(assembler.isWhole).toBe(false)
        else expect((error as MillraceError).code).toBe('CORRUPT_DATA')
        if (error !== undefined) expect(assembler.wholeBytes).toBe(0)
      }),
      { numRuns: 300 },
    )
  })

  it('are refused where they belong elsewhere', () => {
    const codeOf = (bytes: Uint8Array, other: Partial<typeof content>) => {
      try {
        new EntryAssembler({ ...content, ...other }, { from: 0 }).add(bytes)
        return 'none'
      } catch (error) {
        return error instanceof MillraceError ? error.code : String(error)
      }
    }
    expect(codeOf(whole, {})).toBe('none')
    expect(codeOf(whole, { partition: 1 })).toBe('CORRUPT_DATA')
    expect(codeOf(whole, { topicId: 'ff'.repeat(16) as typeof someTopicId })).toBe('CORRUPT_DATA')
    expect(codeOf(whole, { baseOffset: 101 })).toBe('CORRUPT_DATA')
    expect(codeOf(whole, { nextOffset: 117 })).toBe('CORRUPT_DATA')
    expect(codeOf(joined([whole, whole]), { nextOffset: 1_000 })).toBe('CORRUPT_DATA')
  })
})

describe('where history is asked for', () => {
  it('is the port of the WebSocket, or what is named instead', () => {
    expect(historyUrl('http', 'ws://127.0.0.1:4600/ws')).toBe('http://127.0.0.1:4600')
    expect(historyUrl('http', 'wss://example.com/ws')).toBe('https://example.com')
    expect(historyUrl('http', 'wss://example.com/log/ws?a=b')).toBe('https://example.com/log')
    expect(historyUrl({ url: 'https://cdn.example.com/' }, 'ws://x/ws')).toBe('https://cdn.example.com')
    expect(historyUrl({ url: new URL('https://cdn.example.com/log/') }, 'ws://x/ws')).toBe(
      'https://cdn.example.com/log',
    )
  })
})
