import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lineBlocks, linesBefore, linesOf } from '../../../broker/cli/lines.js'

async function* pieces(parts: readonly Uint8Array[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part)
}

async function linesIn(parts: readonly Uint8Array[], lineBytesMax = 1000): Promise<Buffer[]> {
  const lines: Buffer[] = []
  for await (const block of lineBlocks(pieces(parts), { lineBytesMax })) {
    expect(block.firstLine).toBe(lines.length + 1)
    lines.push(...linesOf(block))
  }
  return lines
}

const text = (...parts: string[]) => parts.map((part) => Buffer.from(part))

describe('cutting input into lines', () => {
  it('keeps empty lines, carriage returns and bytes that are no text', async () => {
    const lines = await linesIn([Buffer.from('\n\na\r\n\xff\xfe\n', 'latin1')])
    expect(lines.map((line) => line.toString('latin1'))).toEqual(['', '', 'a\r', '\xff\xfe'])
  })

  it('joins a line that comes in several pieces', async () => {
    const lines = await linesIn(text('one\ntw', 'o', '', '\nthree\n'))
    expect(lines.map(String)).toEqual(['one', 'two', 'three'])
  })

  it('takes what follows the last newline for a line, and nothing for none', async () => {
    expect((await linesIn(text('a\nb'))).map(String)).toEqual(['a', 'b'])
    expect((await linesIn(text('a\nb\n'))).map(String)).toEqual(['a', 'b'])
    expect(await linesIn([])).toEqual([])
    expect((await linesIn(text('\n'))).map(String)).toEqual([''])
  })

  it('gives back every byte however the input is cut', async () => {
    const piece = fc
      .uint8Array({ maxLength: 20 })
      .map((bytes) => bytes.map((byte) => (byte < 80 ? 10 : byte)))
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (parts) => {
        const input = Buffer.concat(parts)
        const output = Buffer.concat((await linesIn(parts)).flatMap((line) => [line, Buffer.from('\n')]))
        const missing = input.length > 0 && input.at(-1) !== 10 ? '\n' : ''
        expect(output.equals(Buffer.concat([input, Buffer.from(missing)]))).toBe(true)
      }),
    )
  })

  it('refuses a line beyond the limit by its number, without collecting the rest of it', async () => {
    let taken = 0
    async function* endless(): AsyncGenerator<Buffer> {
      yield Buffer.from('a\nb\n')
      for (;;) {
        taken++
        yield Buffer.alloc(100, 'x')
      }
    }
    const reading = async () => {
      for await (const _ of lineBlocks(endless(), { lineBytesMax: 1000 }));
    }
    await expect(reading()).rejects.toThrow('line 3 is longer than a record may be (1000 bytes)')
    expect(taken).toBe(11)
  })

  it('gives the lines of a block before one of them', () => {
    const block = { bytes: Buffer.from('a\n\nb\nc'), firstLine: 7 }
    const before = (line: number) => linesBefore(block, line)?.bytes.toString()
    expect([7, 8, 9, 10].map(before)).toEqual([undefined, 'a', 'a\n', 'a\n\nb'])
  })
})
