import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MillraceError } from '../../protocol/error-codes.js'
import { packFrame, packFrameHead, unpackFrame } from '../../protocol/frame.js'
import { HARD_LIMITS } from '../../protocol/limits.js'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

function refusal(bytes: Uint8Array): string {
  try {
    unpackFrame(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError)
    expect((error as MillraceError).code).toBe('BAD_FRAME')
    return (error as MillraceError).message
  }
  return 'none'
}

describe('unpackFrame', () => {
  const refused: [what: string, bytes: string, why: string][] = [
    ['nothing', '', 'the bytes end inside a value'],
    ['a frame cut short', '92 01', 'the bytes end inside a value'],
    ['an array that claims four billion elements', 'dd ffffffff 01', 'the bytes end inside a value'],
    ['a str cut short', '92 01 a3 61', 'the bytes end inside a value'],
    ['a bin header cut short', '92 01 c6 0000', 'the bytes end inside a value'],
    ['bytes after the frame', '91 01 c0', '1 bytes follow the frame'],
    ['a second frame after the frame', '91 01 91 01', '2 bytes follow the frame'],
    ['no array', '81 a1 61 01', 'a frame must be an array'],
    ['a lone number', '01', 'a frame must be an array'],
    ['an empty array', '90', 'a frame must begin with its opcode'],
    ['an opcode that is text', '91 a1 31', 'a frame must begin with its opcode'],
    ['a negative opcode', '91 ff', 'a frame must begin with its opcode'],
    ['an opcode with a fraction', '91 cb 3ff8000000000000', 'a frame must begin with its opcode'],
    ['the byte that MessagePack never uses', '92 01 c1', '0xc1 begins no MessagePack value'],
    ['a timestamp', '92 01 d6 ff 00000000', 'extension types are not used'],
    ['a record definition', '92 01 d4 72 40', 'extension types are not used'],
    ['a set', '92 01 c7 02 73 91 01', 'extension types are not used'],
    ['a map key that is a number', '92 01 81 01 01', 'a map key must be text'],
    ['a map key that is a list', '92 01 81 90 01', 'a map key must be text'],
    ['a map key that is bin', '92 01 81 c4 01 61 01', 'a map key must be text'],
    ['__proto__ as a map key', '92 01 81 a9 5f5f70726f746f5f5f 80', 'a map key must be text'],
    [
      '__proto__ as a map key with a long header',
      '92 01 81 da 0009 5f5f70726f746f5f5f 80',
      'a map key must be text',
    ],
  ]
  for (const [what, bytes, why] of refused) {
    it(`refuses ${what}`, () => expect(refusal(hex(bytes))).toContain(why))
  }

  it('takes nesting up to the limit and not one level more', () => {
    const nested = (levels: number): Uint8Array => hex(`92 01 ${'91'.repeat(levels - 1)} c0`)
    expect(refusal(nested(HARD_LIMITS.nestingMax))).toBe('none')
    expect(refusal(nested(HARD_LIMITS.nestingMax + 1))).toContain('nested too deeply')
    expect(refusal(hex(`92 01 ${'81 a161'.repeat(HARD_LIMITS.nestingMax)} c0`))).toContain(
      'nested too deeply',
    )
  })

  it('does not overflow the stack on a frame that is nothing but nesting', () => {
    expect(refusal(new Uint8Array(1_000_000).fill(0x91))).toContain('nested too deeply')
  })

  it('takes as many values as allowed and not one more', () => {
    const frame = (values: number): Uint8Array => {
      const bytes = new Uint8Array(5 + values - 1).fill(0xc0)
      bytes[0] = 0xdd
      new DataView(bytes.buffer).setUint32(1, values - 1)
      bytes[5] = 1
      return bytes
    }
    expect(unpackFrame(frame(HARD_LIMITS.valuesPerFrameMax))).toHaveLength(HARD_LIMITS.valuesPerFrameMax - 1)
    expect(refusal(frame(HARD_LIMITS.valuesPerFrameMax + 1))).toContain('too many values')
    expect(() => unpackFrame(frame(11), { valuesMax: 10 })).toThrow('too many values')
  })

  it('reads whole numbers of every format', () => {
    const numbers = [
      '05',
      'cc 05',
      'cd 0005',
      'ce 00000005',
      'cf 0000000000000005',
      'd0 05',
      'd1 0005',
      'd2 00000005',
    ]
    numbers.push('d3 0000000000000005', 'ca 40a00000', 'cb 4014000000000000')
    for (const number of numbers) expect(unpackFrame(hex(`92 03 ${number}`))).toEqual([3, 5])
    expect(unpackFrame(hex('92 03 cf 001fffffffffffff'))).toEqual([3, Number.MAX_SAFE_INTEGER])
    expect(unpackFrame(hex('92 03 cb 433fffffffffffff'))).toEqual([3, Number.MAX_SAFE_INTEGER])
  })

  it('reads headers that are longer than they need be', () => {
    expect(unpackFrame(hex('dc 0002 01 db 00000001 61'))).toEqual([1, 'a'])
    expect(unpackFrame(hex('dd 00000002 01 df 00000001 d9 01 61 c3'))).toEqual([1, { a: true }])
  })

  it('gives binary fields as views into the frame', () => {
    const bytes = hex('92 01 c4 02 0708')
    const field = unpackFrame(bytes)[1] as Uint8Array
    expect(field.buffer).toBe(bytes.buffer)
    expect([...field]).toEqual([7, 8])
  })

  it('survives any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        refusal(bytes)
        refusal(Uint8Array.of(0x93, 0x01, ...bytes))
      }),
      { numRuns: 3000 },
    )
  })
})

describe('packFrame', () => {
  it('gives memory of its own, which no later frame overwrites', () => {
    const first = packFrame([3, 1])
    const large = packFrame([18, 1, new Uint8Array(5000).fill(7)])
    for (let i = 0; i < 1000; i++) packFrame([18, i, 'x'.repeat(100), new Uint8Array(2000)])
    // Not even a Buffer, whose slice() would be a view.
    expect(first.constructor).toBe(Uint8Array)
    expect(first.buffer.byteLength).toBe(first.length)
    expect(large.buffer.byteLength).toBe(large.length)
    expect(unpackFrame(first)).toEqual([3, 1])
    expect(unpackFrame(large)).toEqual([18, 1, new Uint8Array(5000).fill(7)])
  })

  it('writes undefined as nil, and numbers from 2^32 as float64', () => {
    expect(Buffer.from(packFrame([1, undefined, 2 ** 32])).toString('hex')).toBe('9301c0cb41f0000000000000')
  })

  it('writes the same bytes whether the last field is small or large', () => {
    for (const size of [0, 1, 255, 256, 1023, 1024, 1025, 65_535, 65_536, 70_000]) {
      const field = new Uint8Array(size).fill(9)
      const frame = unpackFrame(packFrame([25, 'before', field]))
      expect(frame).toEqual([25, 'before', field])
    }
    const headerOf = (size: number): string =>
      Buffer.from(packFrame([25, new Uint8Array(size)])).toString('hex', 2, 7)
    expect(headerOf(1023)).toBe('c503ff0000')
    expect(headerOf(65_535)).toBe('c5ffff0000')
    expect(headerOf(65_536)).toBe('c600010000')
  })
})

describe('packFrameHead', () => {
  it('followed by the last field gives the frame', () => {
    for (const size of [0, 1, 255, 256, 65_535, 65_536, 200_000]) {
      const field = new Uint8Array(size).map((_, i) => i)
      const head = packFrameHead([25, 1, 2, 3], size)
      expect(Buffer.concat([head, field]).equals(packFrame([25, 1, 2, 3, field]))).toBe(true)
    }
  })
})
