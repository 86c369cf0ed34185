import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { type EntryPlace, recordsOf, storedBatchAt } from '../../client/stored-batch.js'
import { COMPRESSION, ENTRY_HEADER_BYTES, entryBytes, writeEntryHeader } from '../../protocol/entry.js'
import { setBit, writeSection } from '../../protocol/entry-section.js'
import { topicIdFrom } from '../../protocol/ids.js'
import { RecordBatchBuilder } from '../../protocol/records.js'

const topicId = topicIdFrom('0123456789abcdef0123456789abcdef')
const place: EntryPlace = { topicName: 'orders', topicId, partition: 0, offset: 40, mayBeginBelow: false }

/** A stored entry of the values, offset 40 on, those at `omitted` left out of the log. */
function entryOf(values: readonly string[], omitted: readonly number[], gzip = false): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append({ key: null, value, timestamp: 5 })
  const built = builder.finish()
  const inflatedBytes = built.payload.length
  const payload = gzip ? new Uint8Array(gzipSync(built.payload)) : built.payload
  const bitmap = new Uint8Array(Math.ceil(values.length / 8))
  for (const index of omitted) setBit(bitmap, index)
  const section = writeSection({ ids: undefined, omitted: bitmap })
  const header = {
    attributes: gzip ? COMPRESSION.gzip : COMPRESSION.none,
    payloadCrc: crc32(payload),
    topicId,
    partition: 0,
    baseOffset: 40,
    lastOffsetDelta: values.length - 1,
    recordCount: values.length,
    appendTime: 9,
    baseTimestamp: built.baseTimestamp,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: 0,
    sectionBytes: section.length,
    sectionCrc: crc32(section),
    payloadBytes: payload.length,
    inflatedBytes,
  }
  const bytes = new Uint8Array(entryBytes(header))
  writeEntryHeader(bytes, 0, header)
  bytes.set(section, ENTRY_HEADER_BYTES)
  bytes.set(payload, ENTRY_HEADER_BYTES + section.length)
  return bytes
}

describe('a stored batch with omitted records', () => {
  for (const gzip of [false, true]) {
    it(`gives the others at their offsets, ${gzip ? 'compressed' : 'plain'}`, async () => {
      const batch = storedBatchAt(entryOf(['a', 'b', 'c', 'd'], [0, 2], gzip), 0, place)
      const records = await recordsOf(batch, place, 1 << 20)
      expect(records.map(({ offsetDelta, value }) => [offsetDelta, value])).toEqual([
        [1, 'b'],
        [3, 'd'],
      ])
      expect(batch.nextOffset).toBe(44)
    })
  }

  it('is refused when a bit of its section is damaged', () => {
    const entry = entryOf(['a', 'b'], [0])
    entry[ENTRY_HEADER_BYTES + 8]! ^= 2
    expect(() => storedBatchAt(entry, 0, place)).toThrow(
      expect.objectContaining({ code: 'CORRUPT_DATA', message: expect.stringContaining('section') }),
    )
  })

  it('is refused when its section is of another batch', () => {
    const entry = entryOf(['a', 'b'], [1])
    const other = entryOf(Array(9).fill('x'), [8])
    const header = storedBatchAt(entry, 0, place).header
    const section = other.subarray(ENTRY_HEADER_BYTES, ENTRY_HEADER_BYTES + 10)
    const mixed = new Uint8Array(ENTRY_HEADER_BYTES + 10 + header.payloadBytes)
    writeEntryHeader(mixed, 0, { ...header, sectionBytes: 10, sectionCrc: crc32(section) })
    mixed.set(section, ENTRY_HEADER_BYTES)
    mixed.set(entry.subarray(entry.length - header.payloadBytes), ENTRY_HEADER_BYTES + 10)
    expect(() => storedBatchAt(mixed, 0, place)).toThrow('2 bytes instead of 1')
  })
})
