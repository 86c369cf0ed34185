import { Packr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { KEYSPACES } from '../../../broker/manifest/schema.js'
import { RecordCursor } from '../../../protocol/record-cursor.js'

const packr = new Packr({ useRecords: false, variableMapSize: true })
const digest = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
const { body, readQuickly } = KEYSPACES.chunks

const quickly = (fields: unknown): unknown => readQuickly?.(new RecordCursor(Buffer.from(packr.pack(fields))))

describe('a chunk row that is read quickly', () => {
  it('is what the slow way reads', () => {
    for (const large of [0, 127, 128, 65_535, 2 ** 31, 2 ** 32, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER]) {
      const fields = [large, 1, large, 3, 400, large, 60_000, large, digest]
      const read = body.read(packr.unpack(packr.pack(fields)), 'chunk')
      expect(quickly(fields)).toEqual({ ...read, baseOffset: 0 })
    }
  })

  it('is left to the slow way, which says what is wrong, where anything is not as usual', () => {
    const good: unknown[] = [1, 2, 3, 4, 5, 6, 7, 8, digest]
    const bad: unknown[] = [null, {}, [], good.slice(0, 8), digest, [...good.slice(0, 8), digest.subarray(1)]]
    bad.push([...good.slice(0, 8), 'text of 16 bytes'], [...good.slice(0, 8), null])
    for (let field = 0; field < 8; field++)
      for (const value of [-1, 0.5, 2 ** 60, 'one', null]) bad.push(good.with(field, value))
    for (const fields of bad) {
      expect(quickly(fields), String(fields)).toBeUndefined()
      expect(() => body.read(fields, 'chunk')).toThrow('chunk')
    }
    expect(quickly([...good, 'a field of a later version'])).toBeUndefined()
    const cut = Buffer.from(packr.pack(good))
    for (let bytes = 0; bytes < cut.length; bytes++)
      expect(readQuickly?.(new RecordCursor(cut.subarray(0, bytes)))).toBeUndefined()
  })
})
