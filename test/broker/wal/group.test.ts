import { describe, expect, it } from 'vitest'
import {
  checkGroup,
  encodeSegmentEnd,
  GROUP_FLAG,
  readDirectoryRow,
  readGroupHeader,
  resemblesGroup,
  writeDirectoryRow,
} from '../../../broker/wal/group.js'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  segmentFileName,
  segmentNumber,
  spareFileName,
  spareNumber,
} from '../../../broker/wal/segment.js'
import { someTopicId } from '../../support/entries.js'
import { someIdentity } from './wal-fixture.js'

const fields = {
  ...someIdentity,
  shardEpoch: 3,
  sequence: 2 ** 40 + 5,
  time: 1_700_000_000_123,
  previousCrc: 0xfffffffe,
}

describe('a group header', () => {
  it('reads back as it was written, under the salt it was written with', () => {
    const { group, headerCrc } = encodeSegmentEnd(fields, 77)
    expect(group).toHaveLength(4096)
    const header = readGroupHeader(group, 0, 77)
    expect(header).toMatchObject({
      ...fields,
      headerCrc,
      flags: GROUP_FLAG.segmentEnd,
      bytes: 128,
      commandCount: 0,
    })
    expect(readGroupHeader(group, 0, 78)).toBeUndefined()
    expect(
      checkGroup(group, 0, header ?? expect.fail('none'), { salt: 77, bodyFault: () => undefined }),
    ).toEqual({ rows: [] })
  })

  it('is still recognised with any one byte of it damaged, and not with another group in its place', () => {
    const { group } = encodeSegmentEnd(fields, 77)
    const expected = { walId: fields.walId, sequence: fields.sequence, previousCrc: fields.previousCrc }
    for (let at = 0; at < 128; at++) {
      const damaged = group.slice()
      damaged[at] = (damaged[at] ?? 0) ^ 0xff
      expect(readGroupHeader(damaged, 0, 77)).toBeUndefined()
      expect(resemblesGroup(damaged, 0, expected)).toBe(true)
    }
    const older = encodeSegmentEnd({ ...fields, sequence: 9, previousCrc: 4 }, 76).group
    expect(resemblesGroup(older, 0, expected)).toBe(false)
    expect(resemblesGroup(new Uint8Array(4096), 0, { ...expected, previousCrc: 0 })).toBe(false)
  })
})

describe('a directory row', () => {
  it('reads back as it was written, over whatever stood there', () => {
    const row = {
      opcode: 1,
      record: 2,
      byteStart: 192,
      byteLength: 4_000_000_000,
      bodyCrc: 0xfedcba98,
      topicId: someTopicId,
      partition: 9_999,
      baseOffset: Number.MAX_SAFE_INTEGER,
      recordCount: 1_000_000,
    }
    const bytes = new Uint8Array(64 + 3).fill(0xee)
    writeDirectoryRow(bytes, 3, row)
    expect(readDirectoryRow(bytes, 3)).toEqual(row)
    expect(bytes.subarray(3 + 52).every((byte) => byte === 0)).toBe(true)
  })
})

describe('a segment header', () => {
  const header = {
    ...someIdentity,
    number: 2 ** 33,
    firstSequence: Number.MAX_SAFE_INTEGER,
    previousCrc: 0xffffffff,
    provenSequence: 2 ** 35 + 1,
    bytes: 64 * 1024 * 1024,
    shardEpoch: 0xffffffff,
    salt: 0xabcdef01,
  }

  it('reads back as it was written', () => {
    expect(decodeSegmentHeader(encodeSegmentHeader(header))).toEqual(header)
  })

  it('is refused, with the cause, when it is cut, of another kind, or of a later version', () => {
    const bytes = encodeSegmentHeader(header)
    expect(decodeSegmentHeader(bytes.subarray(0, 4095))).toEqual({
      fault: expect.stringContaining('cut short'),
    })
    expect(decodeSegmentHeader(new Uint8Array(4096))).toEqual({ fault: expect.stringContaining('magic') })
    const later = bytes.slice()
    later[4] = 2
    expect(decodeSegmentHeader(later)).toEqual({ fault: expect.stringContaining('version 2') })
  })

  it('has its number in the name of its file, and spares have names of their own', () => {
    expect(segmentFileName(0x1f)).toBe('000000000000001f.wal')
    expect(segmentNumber('000000000000001f.wal')).toBe(0x1f)
    expect(spareFileName(0x1f)).toBe('spare-000000000000001f.wal')
    expect(spareNumber('spare-000000000000001f.wal')).toBe(0x1f)
    for (const name of [
      '1f.wal',
      '000000000000001F.wal',
      '000000000000001f.wal.tmp',
      'spare-000000000000001f.wal',
    ]) {
      expect(segmentNumber(name)).toBeUndefined()
    }
    for (const name of ['000000000000001f.wal', 'spare-1.wal', 'spare-000000000000001f.wal.8192.broken']) {
      expect(spareNumber(name)).toBeUndefined()
    }
  })
})
