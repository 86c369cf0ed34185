import { describe, expect, it } from 'vitest'
import { PartitionCheck } from '../../../load/k6/partition-check.js'
import type { EntryHeader } from '../../../protocol/entry.js'
import { notedMeasures } from '../../support/noted-measures.js'

/** A batch of `records` at `offset`. */
function entry(offset: number, records: number, more: Partial<EntryHeader> = {}): EntryHeader {
  const batch = { baseOffset: offset, lastOffsetDelta: records - 1, recordCount: records }
  return { producerId: 0, producerEpoch: 0, baseSequence: 0, ...batch, ...more } as EntryHeader
}

function checkFrom(offset: number) {
  const { measures, wrongs } = notedMeasures()
  return { check: new PartitionCheck({ name: 't/0', offset, measures }), wrongs }
}

describe('the check of a partition', () => {
  it('is content with entries that follow each other', () => {
    const { check, wrongs } = checkFrom(5)
    expect([entry(5, 3), entry(8, 1), entry(9, 10)].map((each) => check.take(each))).toEqual([3, 1, 10])
    expect(check.nextOffset).toBe(19)
    expect(wrongs).toEqual([])
  })

  it('lets the very first entry begin below, and counts what is new in it', () => {
    const { check, wrongs } = checkFrom(5)
    expect(check.take(entry(3, 4))).toBe(2)
    expect(wrongs).toEqual([])
  })

  it('reports a gap once and goes on behind it', () => {
    const { check, wrongs } = checkFrom(0)
    const of = (offset: number) => entry(offset, 2, { producerId: 1, baseSequence: offset })
    for (const offset of [0, 4, 6]) check.take(of(offset))
    expect(wrongs).toEqual(['gap: t/0: expected offset 2, got 4'])
  })

  it('reports entries that come again, the first one too', () => {
    const { check, wrongs } = checkFrom(0)
    check.take(entry(0, 2))
    expect(check.take(entry(0, 2))).toBe(0)
    check.take(entry(1, 2))
    expect(wrongs).toEqual([
      'repeat: t/0: expected offset 2, got 0 again',
      'repeat: t/0: expected offset 2, got 1 again',
    ])
  })

  it('reports an entry that ends below where reading began', () => {
    const { check, wrongs } = checkFrom(5)
    check.take(entry(3, 2))
    expect(wrongs).toEqual(['repeat: t/0: expected offset 5, got 3 again'])
  })

  it('reports a batch of a producer that was written twice or never, though the offsets are whole', () => {
    const { check, wrongs } = checkFrom(0)
    const sequences = [40, 42, 42, 46]
    for (const [index, baseSequence] of sequences.entries()) {
      check.take(entry(2 * index, 2, { producerId: 7, baseSequence }))
    }
    expect(wrongs).toEqual([
      'repeat: t/0: producer 7.0: expected sequence 44, got 42',
      'gap: t/0: producer 7.0: expected sequence 44, got 46',
    ])
  })

  it('tells producers and their epochs apart', () => {
    const { check, wrongs } = checkFrom(0)
    check.take(entry(0, 2, { producerId: 7, baseSequence: 10 }))
    check.take(entry(2, 2, { producerId: 8, baseSequence: 0 }))
    check.take(entry(4, 2, { producerId: 7, producerEpoch: 1, baseSequence: 0 }))
    check.take(entry(6, 2, { producerId: 7, baseSequence: 12 }))
    expect(wrongs).toEqual([])
  })

  it('reports offsets without a record', () => {
    const { check, wrongs } = checkFrom(0)
    check.take(entry(0, 3, { recordCount: 2 }))
    expect(wrongs).toEqual(['gap: t/0: 2 records over 3 offsets'])
  })
})
