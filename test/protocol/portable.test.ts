import { fileURLToPath } from 'node:url'
import { createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import { beforeAll, describe, expect, it } from 'vitest'
import type * as Protocol from '../../protocol/index.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The protocol bundled for browsers and evaluated in a realm that has the language and the given globals, nothing else. */
async function protocolWith(globals: Record<string, unknown>): Promise<typeof Protocol> {
  const { outputFiles } = await build({
    entryPoints: [`${root}/protocol/index.ts`],
    alias: { '#crc32': `${root}/protocol/platform/crc32-portable.ts` },
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'protocol',
    platform: 'browser',
    target: 'es2015',
  })
  const context = createContext(globals)
  runInContext(outputFiles[0]?.text ?? '', context)
  return (context as { protocol: typeof Protocol }).protocol
}

for (const [where, globals] of [
  ['in a browser', { TextEncoder, TextDecoder, Uint8Array }],
  ['in a host that has nothing but the language', { Uint8Array }],
] as const) {
  describe(`the protocol ${where}`, () => {
    let protocol: typeof Protocol
    beforeAll(async () => {
      protocol = await protocolWith({ ...globals })
    })

    it('packs and unpacks frames', () => {
      const fields = { correlationId: 7, names: ['größer', 'x'.repeat(100)], after: null, limit: 2 ** 9 }
      const bytes = protocol.packFrame(protocol.metadata.write(fields))
      const unpacked = protocol.unpackFrame(bytes)
      expect(JSON.stringify(protocol.metadata.read(unpacked))).toBe(JSON.stringify(fields))
    })

    it('sends large binary fields', () => {
      const payload = new Uint8Array(5000).fill(7)
      const bytes = protocol.packFrame([25, 1, 2, 3, payload])
      expect(protocol.unpackFrame(bytes)[4]).toEqual(payload)
    })

    it('builds, checks and reads batches', () => {
      const builder = new protocol.RecordBatchBuilder()
      builder.append({ key: 'ключ', value: '😀'.repeat(100), headers: { a: Uint8Array.of(1) }, timestamp: 1 })
      builder.append({ key: null, value: 'plain', timestamp: 2 })
      const { payload, recordCount } = builder.finish()
      const expectation = { recordCount, keyTextual: true, valueTextual: true, recordBytesMax: 1000 }
      expect(protocol.recordsFault(payload, expectation)).toBeUndefined()
      const records = protocol.decodeRecords(payload, recordCount)
      expect(records[0]).toMatchObject({ key: 'ключ', value: '😀'.repeat(100) })
      expect(records[1]).toMatchObject({ key: null, value: 'plain' })
    })

    it('has the same CRC', () => {
      expect(protocol.crc32(Uint8Array.of(0x31, 0x32, 0x33))).toBe(0x884863d2)
    })

    it('throws its own errors at bad frames', () => {
      expect(() => protocol.unpackFrame(Uint8Array.of(0x92, 1, 0xc1))).toThrow(
        '0xc1 begins no MessagePack value',
      )
    })
  })
}
