import { describe, expect, it } from 'vitest'
import type { Disk } from '../../../broker/platform/disk.js'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { WalCorruption } from '../../../broker/wal/corruption.js'
import { readGroupHeader, writeGroupHeader } from '../../../broker/wal/group.js'
import { scanWal } from '../../../broker/wal/scan.js'
import { decodeSegmentHeader, type SegmentHeader, segmentFileName } from '../../../broker/wal/segment.js'
import { Wal, type WalOptions } from '../../../broker/wal/wal.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import {
  commandsOf,
  commit,
  directory,
  type GroupContent,
  KIB,
  recover,
  scan,
  segmentPath,
  someIdentity,
  walOptions,
} from './wal-fixture.js'

const segmentBytes = 24 * KIB

/** A WAL over several segments, two groups and the end in each, and what was acknowledged. */
async function writtenWal(
  groups: number,
  more: Partial<WalOptions> = {},
): Promise<{ disk: SimulatedDisk; options: WalOptions; wal: Wal; written: GroupContent[] }> {
  const disk = new SimulatedDisk()
  const options = walOptions({ disk, segmentBytes, ...more })
  const wal = await Wal.createFirst(options)
  const written: GroupContent[] = []
  for (let mark = 1; mark <= groups; mark++) written.push(await commit(options, wal, commandsOf(5_000, mark)))
  return { disk, options, wal, written }
}

const refusalOf = async (disk: Disk, from = 1): Promise<WalCorruption> => {
  const error = await scan({ disk, from }).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof WalCorruption)) throw new Error(`not refused: ${error}`)
  return error
}

async function edit(disk: Disk, number: number, change: (bytes: Uint8Array) => void): Promise<void> {
  const bytes = (await disk.readFile(segmentPath(number))).slice()
  change(bytes)
  await disk.replaceFile(segmentPath(number), bytes)
}

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 1
}

const withCommands = (groups: readonly GroupContent[]): GroupContent[] =>
  groups.filter(({ commands }) => commands.length > 0)

async function segmentHeader(disk: Disk, number: number): Promise<SegmentHeader> {
  const header = decodeSegmentHeader(await disk.readFile(segmentPath(number)))
  if ('fault' in header) throw new Error(header.fault)
  return header
}

describe('scanWal', () => {
  it('visits every group in sequence over all segments, the ends of segments included', async () => {
    const { disk, wal, written } = await writtenWal(9)
    const { groups, result } = await scan({ disk })
    expect(withCommands(groups)).toEqual(written)
    expect(groups.map(({ sequence }) => sequence)).toEqual(groups.map((_, i) => i + 1))
    expect(result.end).toMatchObject(wal.end)
    expect(result.segments.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5])
    expect(result).toMatchObject({ unused: [], tornTail: undefined })
    expect(result.lastGroup?.header.sequence).toBe(wal.end.sequence)
  })

  it('visits the groups from the one asked for on', async () => {
    const { disk } = await writtenWal(6)
    for (const from of [1, 3, 4, 6, 7, 9]) {
      const { groups, result } = await scan({ disk, from })
      expect(groups.map(({ sequence }) => sequence)).toEqual(
        Array.from({ length: 9 - from }, (_, i) => from + i),
      )
      expect(result.segments).toHaveLength(3)
      expect(result.lastGroup?.header.sequence).toBe(8)
    }
  })

  it('looks at no more than the headers of the groups before the one asked for', async () => {
    const flipped = async (position: number): Promise<SimulatedDisk> => {
      const { disk } = await writtenWal(6)
      await edit(disk, 1, (bytes) => flip(bytes, position))
      return disk
    }
    const header = 4 * KIB + 60
    const body = 4 * KIB + 1_000
    expect((await scan({ disk: await flipped(body), from: 2 })).groups[0]?.sequence).toBe(2)
    expect((await refusalOf(await flipped(body), 1)).byteOffset).toBeGreaterThan(4 * KIB)
    expect((await refusalOf(await flipped(header), 2)).byteOffset).toBe(4 * KIB)
  })

  it('checks all of the last group even if nobody asked for it: it may be written again', async () => {
    const { disk } = await writtenWal(6)
    const { segment, position, sequence } = (await scan({ disk })).result.end ?? expect.fail('no end')
    await edit(disk, segment.number, (bytes) => flip(bytes, position - 4 * KIB))
    const { reason } = await refusalOf(disk, sequence + 1)
    expect(reason).toMatch(`group ${sequence}: `)
  })

  it('looks for nothing behind the end of a clean stop, where it finds that end', async () => {
    const { disk } = await writtenWal(3)
    const { end } = (await scan({ disk })).result
    if (end === undefined) expect.fail('no end')
    // As of a group of which the one before it was lost: it proves that there was one.
    const { number, salt } = end.segment
    await edit(disk, number, (bytes) => {
      const header = readGroupHeader(bytes, end.position - 8 * KIB, salt) ?? expect.fail('no group')
      const later = { ...header, commandCount: 0, sequence: end.sequence + 2 }
      writeGroupHeader(bytes, end.position + 4 * KIB, later, salt)
    })
    expect((await refusalOf(disk)).reason).toContain('proves that it had been written')
    const { sequence, headerCrc } = end
    const { result } = await scan({ disk, cleanEnd: { sequence, headerCrc } })
    expect(result).toMatchObject({ end, tornTail: undefined })
    expect(result.lastGroup?.header.sequence).toBe(sequence)
    const refused = scan({ disk, cleanEnd: { sequence, headerCrc: headerCrc + 1 } })
    await expect(refused).rejects.toThrow('proves that it had been written')
  })

  it('finds no end in a directory without segments', async () => {
    const disk = new SimulatedDisk()
    await disk.makeDirectory(directory)
    expect((await scan({ disk })).result).toMatchObject({
      end: undefined,
      lastGroup: undefined,
      segments: [],
    })
  })

  it('finds the end of a WAL that holds no group yet', async () => {
    const { disk } = await writtenWal(0)
    const { groups, result } = await scan({ disk })
    expect(groups).toEqual([])
    expect(result).toMatchObject({ end: { sequence: 0, headerCrc: 0, position: 4096 }, lastGroup: undefined })
  })

  it('leaves other files in the directory alone', async () => {
    const { disk } = await writtenWal(3)
    for (const name of [
      'notes.txt',
      '1.wal',
      `${segmentFileName(1)}.4096.broken`,
      'spare-0000000000000009.wal',
    ]) {
      await disk.replaceFile(`${directory}/${name}`, new Uint8Array(10))
    }
    expect((await scan({ disk })).result.segments).toHaveLength(2)
  })

  it('never takes groups of a recycled segment for its own, though they are whole where its own end', async () => {
    const { disk, options, wal } = await writtenWal(0, { sparesMax: 8 })
    // One group on every page of four segments, which are then recycled: half of each is written again.
    while (wal.segmentNumber < 5) await commit(options, wal, commandsOf(10, 1))
    const salts = await Promise.all(
      [1, 2, 3, 4].map(async (number) => (await segmentHeader(disk, number)).salt),
    )
    const oldSequence = wal.end.sequence
    expect(await wal.trim(wal.end.sequence)).toBe(4)
    while (wal.segmentNumber < 8) await commit(options, wal, commandsOf(10, 2))
    await commit(options, wal, commandsOf(10, 2))

    const { result } = await scan({ disk, from: wal.end.sequence })
    const { position, segment } = result.end ?? expect.fail('no end')
    const bytes = await disk.readFile(segmentPath(segment.number))
    const stale = salts
      .map((salt) => readGroupHeader(bytes, position, salt))
      .find((header) => header !== undefined)
    expect(stale?.sequence).toBeLessThan(oldSequence)
    expect(result).toMatchObject({ end: wal.end, tornTail: undefined })
  })
})

describe('scanWal, of files that are not as they were left,', () => {
  it.each([0, 1, 4095, 4096, 8192, 24 * KIB - 1, 24 * KIB + 1])(
    'names a segment cut to %i bytes',
    async (bytes) => {
      for (const number of [1, 2, 3]) {
        const { disk } = await writtenWal(6)
        const file = await disk.open(segmentPath(number), 'readWrite')
        await file.truncate(bytes)
        const { file: named, byteOffset } = await refusalOf(disk)
        expect([named, byteOffset]).toEqual([
          segmentPath(number),
          bytes < 4096 ? 0 : Math.min(bytes, segmentBytes),
        ])
      }
    },
  )

  it('names the first segment when it is missing and needed', async () => {
    const { disk } = await writtenWal(6)
    await disk.remove(segmentPath(1))
    for (const from of [1, 3]) {
      const { file, reason } = await refusalOf(disk, from)
      expect([file, reason]).toEqual([segmentPath(1), expect.stringContaining('missing')])
    }
    expect((await scan({ disk, from: 4 })).groups[0]?.sequence).toBe(4)
  })

  it('names a missing segment in the middle', async () => {
    const { disk } = await writtenWal(8)
    await disk.remove(segmentPath(2))
    const { file, reason } = await refusalOf(disk)
    expect([file, reason]).toEqual([segmentPath(2), expect.stringContaining('missing')])
  })

  it('names the last segment when it is missing', async () => {
    const { disk } = await writtenWal(6)
    await disk.remove(segmentPath(3))
    const { file, reason } = await refusalOf(disk)
    expect([file, reason]).toEqual([segmentPath(3), expect.stringContaining('missing')])
  })

  it('names the segment that a start after a crash made, when it is missing', async () => {
    const { disk, options } = await writtenWal(5)
    const revived = disk.crash()
    const { wal } = await recover({ ...options, disk: revived })
    expect(wal.segmentNumber).toBe(4)
    for (const mark of [1, 2]) await commit(options, wal, commandsOf(5_000, mark))
    const middle = revived.kill()
    await middle.remove(segmentPath(4))
    const { file, reason } = await refusalOf(middle)
    expect([file, reason]).toEqual([segmentPath(4), expect.stringContaining('missing')])
  })

  it('refuses two segments under each other’s names', async () => {
    for (const [a, b] of [
      [1, 2],
      [2, 3],
      [1, 3],
    ] as const) {
      const { disk } = await writtenWal(6)
      await disk.rename(segmentPath(a), `${directory}/aside`)
      await disk.rename(segmentPath(b), segmentPath(a))
      await disk.rename(`${directory}/aside`, segmentPath(b))
      const { file, reason } = await refusalOf(disk)
      expect([file, reason]).toEqual([segmentPath(a), expect.stringContaining('under another name')])
    }
  })

  it('refuses a segment of another WAL', async () => {
    const { disk } = await writtenWal(6)
    const other = await writtenWal(6, { identity: { ...someIdentity, walId: 'b'.repeat(32) } })
    await disk.remove(segmentPath(2))
    await disk.replaceFile(segmentPath(2), await other.disk.readFile(segmentPath(2)))
    const { file, reason } = await refusalOf(disk)
    expect([file, reason]).toEqual([segmentPath(2), expect.stringContaining('another data directory')])
  })

  it('refuses an older copy of a segment', async () => {
    const { disk, options, wal } = await writtenWal(1)
    const old = await disk.readFile(segmentPath(1))
    for (let mark = 2; mark <= 6; mark++) await commit(options, wal, commandsOf(5_000, mark))
    await disk.replaceFile(segmentPath(1), old)
    expect((await refusalOf(disk)).file).toBe(segmentPath(1))
  })

  /** Two histories of one WAL: it was copied after a clean stop, and both copies went on. */
  async function fork(): Promise<[SimulatedDisk, SimulatedDisk]> {
    const disks: SimulatedDisk[] = []
    for (const history of [10, 20]) {
      const { disk, options, wal } = await writtenWal(1)
      await wal.close()
      const { segments, end } = (await scan({ disk })).result
      const random = new SeededRandom(history)
      const next = await Wal.continueAt({ ...options, random }, segments, end ?? expect.fail('no end'))
      for (let mark = 1; mark <= 5; mark++) await commit(options, next, commandsOf(5_000, history + mark))
      disks.push(disk)
    }
    return disks as [SimulatedDisk, SimulatedDisk]
  }

  it('refuses a segment of another history of the same WAL', async () => {
    const [disk, other] = await fork()
    await disk.replaceFile(segmentPath(2), await other.readFile(segmentPath(2)))
    const { file, byteOffset, reason } = await refusalOf(disk)
    expect([file, byteOffset, reason]).toEqual([
      segmentPath(2),
      0,
      expect.stringContaining('another history'),
    ])
  })

  it('refuses a group of another history of the same segment', async () => {
    const [disk, other] = await fork()
    // The end of the segment stands there: under the salt that both share it is whole.
    const content = await disk.readFile(segmentPath(1))
    const spliced = new Uint8Array(content)
    spliced.set((await other.readFile(segmentPath(1))).subarray(20480), 20480)
    await disk.replaceFile(segmentPath(1), spliced)
    const { file, byteOffset, reason } = await refusalOf(disk)
    expect([file, byteOffset, reason]).toEqual([
      segmentPath(1),
      20480,
      expect.stringContaining('another history'),
    ])
  })
})

describe('scanWal, after a crash,', () => {
  const damageAt = (disk: SimulatedDisk, number: number, position: number): void =>
    disk.flipBit(segmentPath(number), position)

  it('says that an unproven last group is torn, and keeps all before it', async () => {
    const { disk, written } = await writtenWal(2)
    const end = (await scan({ disk })).result.lastGroup ?? expect.fail('no group')
    damageAt(disk, 1, end.position + 200)
    const { groups, result } = await scan({ disk })
    expect(groups).toEqual(written.slice(0, -1))
    expect(result.tornTail).toMatchObject({
      file: segmentPath(1),
      byteOffset: end.position,
      bytes: end.bytes.length,
    })
  })

  it('keeps the whole of a torn group whose header is what is damaged', async () => {
    const { disk } = await writtenWal(2)
    const end = (await scan({ disk })).result.lastGroup ?? expect.fail('no group')
    damageAt(disk, 1, end.position + 9)
    expect((await scan({ disk })).result.tornTail).toMatchObject({ bytes: end.bytes.length })
  })

  it('refuses a damaged last group that an empty group proves', async () => {
    const { disk, options, wal } = await writtenWal(1)
    await commit(options, wal, [])
    damageAt(disk, 1, 4096 + 200)
    expect(await refusalOf(disk)).toMatchObject({
      file: segmentPath(1),
      reason: expect.stringContaining('proves'),
    })
  })

  it('refuses a damaged last group that an unused next segment proves', async () => {
    const failpoints = new ArmedFailpoints()
    failpoints.arm('walAfterRollHeader', () => {
      throw new Error('the end of this process')
    })
    const { disk, options, wal } = await writtenWal(2, { failpoints })
    await expect(commit(options, wal, commandsOf(5_000, 3))).rejects.toThrow('the end of this process')
    const { result } = await scan({ disk })
    expect(result.unused.map(({ number }) => number)).toEqual([2])
    const last = result.lastGroup ?? expect.fail('no group')
    damageAt(disk, 1, last.position + 200)
    expect(await refusalOf(disk)).toMatchObject({
      file: segmentPath(1),
      byteOffset: last.position + 128,
      reason: expect.stringContaining(`segment ${segmentFileName(2)} proves`),
    })
  })

  it('finds the last group in its old place when its copy is damaged', async () => {
    const { disk, options, written } = await writtenWal(2)
    const revived = disk.crash()
    await recover({ ...options, disk: revived })
    damageAt(revived, 2, 4096 + 200)
    const { groups, result } = await scan({ disk: revived })
    expect(withCommands(groups)).toEqual(written)
    expect(result.tornTail).toMatchObject({ file: segmentPath(2), byteOffset: 4096 })
    const again = await recover({ ...options, disk: revived, random: new SeededRandom(9) })
    const next = await commit(options, again.wal, commandsOf(10, 3))
    expect(withCommands((await scan({ disk: revived })).groups)).toEqual([...written, next])
  })

  it('counts out segments of which later ones repeat everything', async () => {
    const { disk, options, written } = await writtenWal(1)
    let revived = disk
    for (let start = 0; start < 5; start++) {
      revived = revived.crash()
      await recover({ ...options, disk: revived, random: new SeededRandom(start) })
    }
    const { groups, result } = await scan({ disk: revived })
    expect(groups).toEqual(written)
    expect(result.segments.length + result.unused.length).toBeLessThanOrEqual(2)
  })

  it('hands out a copy of the last group that outlives the scan', async () => {
    const { disk, written } = await writtenWal(7)
    let last: Uint8Array | undefined
    const visit = ({ bytes }: { bytes: Uint8Array }): void => {
      last = bytes.slice()
    }
    const { lastGroup } = await scanWal({ disk, directory, identity: someIdentity, from: 1, visit })
    expect(lastGroup?.bytes).toEqual(last)
    // Its own memory, not a view of what the scan reads into.
    expect(lastGroup?.bytes.buffer.byteLength).toBe(last?.length)
    expect(lastGroup?.header.sequence).toBe(written.at(-1)?.sequence)
  })
})
