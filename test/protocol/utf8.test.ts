import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { portableUtf8, type Utf8, utf8 } from '../../protocol/utf8.js'

/** A fresh copy of the module in a world without Node's Buffer. */
async function withoutBuffer(): Promise<Utf8> {
  vi.stubGlobal('Buffer', undefined)
  vi.resetModules()
  const { utf8: chosen } = await import('../../protocol/utf8.js')
  vi.unstubAllGlobals()
  return chosen
}

function write(implementation: Utf8, text: string): Uint8Array {
  const target = new Uint8Array(3 + 3 * text.length)
  return target.slice(3, implementation.writer(target)(text, 3))
}

const read = (implementation: Utf8, bytes: Uint8Array): string =>
  implementation.reader(bytes)(0, bytes.length)

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const implementations = {
  'by Buffer': utf8,
  'by TextEncoder': await withoutBuffer(),
  'by hand': portableUtf8,
}

afterEach(() => vi.unstubAllGlobals())

it('UTF-8 is done by three different means here', () => {
  const sources = Object.values(implementations).map(({ writer }) => writer.toString())
  expect(new Set(sources).size).toBe(3)
})

it('UTF-8 is done by hand where there is neither Buffer nor TextEncoder', async () => {
  vi.stubGlobal('TextEncoder', undefined)
  const chosen = await withoutBuffer()
  expect(chosen.writer.toString()).toBe(portableUtf8.writer.toString())
  expect(read(chosen, write(chosen, 'Größe €10 😀'))).toBe('Größe €10 😀')
})

for (const [name, implementation] of Object.entries(implementations)) {
  describe(`UTF-8 ${name}`, () => {
    it('writes as TextEncoder does, lone surrogates as U+FFFD', () => {
      for (const text of [
        '',
        'a',
        'ä',
        '€',
        '😀',
        '\ud800',
        'x\udc00y',
        '\ud83d',
        '\ud83d\ud83d\ude00',
        '\ufeffa\0',
      ]) {
        expect(write(implementation, text)).toEqual(new TextEncoder().encode(text))
      }
      const units = fc.array(fc.oneof(fc.nat(0xffff), fc.integer({ min: 0xd700, max: 0xe100 }), fc.nat(0x7f)))
      fc.assert(
        fc.property(units, (codes) => {
          const text = String.fromCharCode(...codes)
          expect(write(implementation, text)).toEqual(new TextEncoder().encode(text))
        }),
        { numRuns: 500 },
      )
    })

    it('reads as TextDecoder does, ill-formed sequences as U+FFFD, a byte order mark as itself', () => {
      const edges = [
        'c0af',
        'e08080',
        'eda080',
        'f08080',
        'f4908080',
        'f5',
        'f09f98',
        'e282',
        'c3',
        'c328',
        'efbbbf61',
        'f09f9880',
        '80',
        'e28228a1',
      ]
      for (const edge of edges) {
        const bytes = new Uint8Array(Buffer.from(edge, 'hex'))
        expect(read(implementation, bytes)).toBe(decoder.decode(bytes))
      }
      const bytes = fc.array(
        fc.oneof(fc.nat(0xff), fc.constantFrom(0x80, 0xbf, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0x9f, 0xa0, 0x90)),
      )
      fc.assert(
        fc.property(bytes, (array) => {
          const source = Uint8Array.from(array)
          expect(read(implementation, source)).toBe(decoder.decode(source))
        }),
        { numRuns: 2000 },
      )
    })

    it('reads only what it is asked for', () => {
      const bytes = new TextEncoder().encode('äbcdö')
      expect(implementation.reader(bytes)(2, 5)).toBe('bcd')
    })

    it('takes text of any length', () => {
      const text = 'x'.repeat(5000) + '😀'.repeat(70_000)
      expect(read(implementation, write(implementation, text))).toBe(text)
    })
  })
}
