import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { SlabPool } from '../../../broker/wal/slab.js'
import { Wal, type WalOptions } from '../../../broker/wal/wal.js'
import { storedEntries } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import {
  appendOf,
  commandsOf,
  commit,
  contentOfCommands,
  type GroupContent,
  KIB,
  recover,
  scan,
  segmentPath,
  walOptions,
} from './wal-fixture.js'

const segmentBytes = 24 * KIB

async function freshWal(
  more: Partial<WalOptions> = {},
): Promise<{ disk: SimulatedDisk; options: WalOptions; wal: Wal }> {
  const disk = new SimulatedDisk()
  const options = walOptions({ disk, segmentBytes, ...more })
  return { disk, options, wal: await Wal.createFirst(options) }
}

const withCommands = (groups: readonly GroupContent[]): GroupContent[] =>
  groups.filter(({ commands }) => commands.length > 0)

describe('Wal', () => {
  it('hands out each group where it stands, on disk and in its slab, byte for byte', async () => {
    const { options, wal } = await freshWal({ segmentBytes: 64 * KIB })
    for (let round = 0; round < 12; round++) {
      const entries = storedEntries([round * 700, 0, 33], { baseOffset: round * 3 })
      const committed = await wal.commit({ commands: entries.map((entry) => appendOf(entry)), time: 5 })
      expect(committed.bodyStarts).toHaveLength(3)
      for (const [index, { bytes }] of entries.entries()) {
        const bodyStart = committed.bodyStarts[index] ?? 0
        const inSlab = committed.slab.buffer
          .subarray(committed.slabPosition + bodyStart)
          .subarray(0, bytes.length)
        expect(Buffer.compare(inSlab, bytes)).toBe(0)
        const read = new Uint8Array(bytes.length)
        await wal.files.read(committed.segment, read, committed.position + bodyStart)
        expect(Buffer.compare(read, bytes)).toBe(0)
      }
      options.slabs.release(committed.slab)
    }
  })

  it('writes every group on a boundary of 4 KiB, and zeros up to the next', async () => {
    const { disk, options, wal } = await freshWal()
    // What an earlier use left in the slab must not get to disk.
    const slab = options.slabs.take(1)
    slab.buffer.fill(0xee)
    options.slabs.release(slab)
    const committed = await wal.commit({ commands: commandsOf(100), time: 5 })
    expect([committed.position % 4096, committed.bytes % 4096]).toEqual([0, 0])
    const content = await disk.readFile(segmentPath(1))
    const end = committed.position + (committed.bodyStarts[1] ?? 0) + 4
    expect(content.subarray(end, committed.position + committed.bytes).every((byte) => byte === 0)).toBe(true)
  })

  it('rolls over many small segments without a gap in its sequence', async () => {
    const { disk, options, wal } = await freshWal()
    const written: GroupContent[] = []
    for (let mark = 0; mark < 150; mark++)
      written.push(await commit(options, wal, commandsOf((mark * 997) % 9_000, mark)))
    const { groups, result } = await scan({ disk })
    expect(withCommands(groups)).toEqual(written)
    expect(groups.map(({ sequence }) => sequence)).toEqual(groups.map((_, i) => i + 1))
    expect(result.segments.length).toBeGreaterThan(40)
  })

  it('gives a group that is larger than a segment a segment of its own size', async () => {
    const { disk, options, wal } = await freshWal()
    const written: GroupContent[] = []
    for (const bytes of [10, 100_000, 10, 24_000, 10])
      written.push(await commit(options, wal, commandsOf(bytes, bytes % 99)))
    expect(withCommands((await scan({ disk })).groups)).toEqual(written)
    // It fits no spare: it is removed, not recycled.
    await wal.trim(wal.end.sequence)
    for (const name of (await disk.list('/wal')).filter((name) => name.startsWith('spare-'))) {
      expect((await disk.readFile(`/wal/${name}`)).length).toBe(segmentBytes)
    }
  })

  it('copies a last group that is larger than a segment is now', async () => {
    const { disk, options, wal } = await freshWal({ segmentBytes: 256 * KIB })
    const written = [await commit(options, wal, commandsOf(100_000, 1))]
    const revived = disk.crash()
    const later = { ...options, disk: revived, segmentBytes }
    const { wal: next } = await recover(later)
    written.push(await commit(later, next, commandsOf(10, 2)))
    const { groups, result } = await scan({ disk: revived.crash() })
    expect(withCommands(groups)).toEqual(written)
    expect(result.tornTail).toBeUndefined()
  })

  it('takes what it says fits a segment into one segment', async () => {
    const { options, wal } = await freshWal()
    // Body and directory row of an append, and 68 bytes for the small command.
    const payloadBytes = wal.groupBytesMax - 112 - 64 - 68
    await commit(options, wal, commandsOf(payloadBytes))
    expect([wal.segmentNumber, wal.files.totalBytes]).toEqual([1, segmentBytes])
  })

  it('goes on behind the last group after a clean stop', async () => {
    const { disk, options, wal } = await freshWal()
    const written = [await commit(options, wal, commandsOf(10, 1))]
    await wal.close()
    const { result } = await scan({ disk })
    const next = await Wal.continueAt(options, result.segments, result.end ?? expect.fail('no end'))
    expect(next.end).toEqual(wal.end)
    for (let mark = 2; mark < 9; mark++) written.push(await commit(options, next, commandsOf(5_000, mark)))
    const { groups } = await scan({ disk })
    expect(withCommands(groups)).toEqual(written)
    expect(groups.map(({ sequence }) => sequence)).toEqual(groups.map((_, i) => i + 1))
  })

  it('goes on in a fresh segment that begins with the last group after a crash', async () => {
    const { disk, options, wal } = await freshWal()
    const written = [
      await commit(options, wal, commandsOf(10, 1)),
      await commit(options, wal, commandsOf(20, 2)),
    ]
    const revived = disk.kill()
    const { wal: next, rewritten } = await recover({ ...options, disk: revived })
    expect([rewritten, next.segmentNumber, next.end.sequence]).toEqual([{ segment: 2, position: 4096 }, 2, 2])
    written.push(await commit(options, next, commandsOf(30, 3)))
    const after = revived.crash()
    const { groups, result } = await scan({ disk: after })
    expect(groups).toEqual(written)
    expect(result.segments.map(({ firstSequence }) => firstSequence)).toEqual([1, 2])
  })

  it('never begins a second commit before the first has returned', async () => {
    const { options, wal } = await freshWal()
    const first = commit(options, wal, commandsOf(10, 1))
    await expect(wal.commit({ commands: [], time: 5 })).rejects.toThrow('before the last one had returned')
    await first
    await commit(options, wal, commandsOf(10, 2))
  })

  it('writes nothing any more after an error, and says the same error each time', async () => {
    const { disk, options, wal } = await freshWal()
    const written = [await commit(options, wal, commandsOf(10, 1))]
    disk.failNext({ operation: 'write', code: 'EIO' })
    const error = await wal
      .commit({ commands: commandsOf(10, 2), time: 5 })
      .catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'EIO' })
    for (let i = 0; i < 3; i++) await expect(wal.commit({ commands: [], time: 5 })).rejects.toBe(error)
    // At most the group whose write failed is there.
    const { groups } = await scan({ disk })
    expect(groups.length).toBeLessThanOrEqual(2)
    expect(groups[0]).toEqual(written[0])
  })

  it.each(['walBeforeWrite', 'walAfterWrite', 'walBeforeRoll', 'walAfterRollHeader'] as const)(
    'keeps its count of slab bytes and its files when it fails at %s',
    async (name) => {
      const failpoints = new ArmedFailpoints()
      const { options, wal } = await freshWal({ failpoints })
      await commit(options, wal, commandsOf(5_000, 1))
      failpoints.arm(name, () => {
        throw new Error('failed here')
      })
      const failing = async (): Promise<void> => {
        for (;;) await commit(options, wal, commandsOf(5_000, 2))
      }
      await expect(failing()).rejects.toThrow('failed here')
      await wal.close()
      expect(options.slabs.bytesInUse).toBe(0)
    },
  )

  it('leaves in use, once closed, only the slabs that receivers still hold', async () => {
    const slabs = new SlabPool({ slabBytes: 16 * KIB, freeBytesMax: 32 * KIB })
    const { options, wal } = await freshWal({ slabs })
    const held = await wal.commit({ commands: commandsOf(5_000, 1), time: 5 })
    const large = await wal.commit({ commands: commandsOf(50_000, 2), time: 5 })
    for (let mark = 3; mark < 9; mark++) await commit(options, wal, commandsOf(5_000, mark))
    await wal.close()
    await wal.close()
    expect(slabs.bytesInUse).toBe(16 * KIB + large.slab.buffer.length)
    slabs.release(held.slab)
    slabs.release(large.slab)
    expect(slabs.bytesInUse).toBe(0)
    await expect(wal.commit({ commands: [], time: 5 })).rejects.toThrow('closed')
  })

  it('goes on when a spare cannot be made ahead, as long as one is there when it is needed', async () => {
    const { disk, options, wal } = await freshWal({ sparesMax: 2 })
    await wal.files.restock()
    const written: GroupContent[] = []
    disk.failNext({ operation: 'open', path: /spare-/, code: 'ENOSPC', skip: 1 })
    for (let mark = 0; mark < 9; mark++) written.push(await commit(options, wal, commandsOf(5_000, mark)))
    expect(withCommands((await scan({ disk })).groups)).toEqual(written)
  })
})

describe('Wal.trim', () => {
  it('recycles every segment that ends at or below its limit, and none above it', async () => {
    for (let limit = 0; limit <= 18; limit++) {
      const { disk, options, wal } = await freshWal()
      for (let mark = 0; mark < 10; mark++) await commit(options, wal, commandsOf(5_000, mark))
      const before = wal.files.headers
      const lasts = before.slice(1).map(({ firstSequence }) => firstSequence - 1)
      const expected = lasts.filter((last) => last <= limit).length
      expect(await wal.trim(limit)).toBe(expected)
      expect(wal.files.headers).toEqual(before.slice(expected))
      expect(wal.files.totalBytes).toBe((before.length - expected) * segmentBytes)
      const from = Math.min(limit + 1, wal.end.sequence)
      const { groups } = await scan({ disk: disk.crash(), from })
      expect(groups[0]?.sequence).toBe(from)
      expect(groups.at(-1)?.sequence).toBe(wal.end.sequence)
    }
  })

  it('keeps the segment that is written to', async () => {
    const { options, wal } = await freshWal()
    await commit(options, wal, commandsOf(10))
    expect(await wal.trim(100)).toBe(0)
    expect(wal.files.headers).toHaveLength(1)
  })

  it('makes new segments of old ones: the disk holds no more files the longer it runs', async () => {
    const { disk, options, wal } = await freshWal({ sparesMax: 2 })
    await wal.files.restock()
    let spares = 0
    const counted = new Set<string>()
    for (let mark = 0; mark < 60; mark++) {
      await commit(options, wal, commandsOf(5_000, mark))
      await wal.trim(wal.end.sequence - 1)
      for (const name of await disk.list('/wal')) counted.add(name)
      spares = Math.max(spares, (await disk.list('/wal')).filter((name) => name.startsWith('spare-')).length)
    }
    expect(wal.segmentNumber).toBeGreaterThan(25)
    expect((await disk.list('/wal')).length).toBeLessThanOrEqual(4)
    expect(spares).toBeLessThanOrEqual(2)
  })
})

describe('Wal on a real disk', () => {
  const made: string[] = []
  afterEach(async () => {
    for (const path of made.splice(0)) await rm(path, { recursive: true })
  })

  async function realOptions(): Promise<WalOptions> {
    const root = await mkdtemp(join(tmpdir(), 'millrace-wal-'))
    made.push(root)
    return walOptions({ disk: nodeDisk, directory: join(root, 'wal'), sparesMax: 2 })
  }

  it('holds what was written over rolls, trims and starts', async () => {
    const options = await realOptions()
    let wal = await Wal.createFirst(options)
    const random = new SeededRandom(11)
    const written = new Map<number, GroupContent>()
    let from = 1
    for (let start = 0; start < 6; start++) {
      for (let i = 0; i < 30; i++) {
        const group = await commit(options, wal, commandsOf(random.below(12_000), i))
        written.set(group.sequence, group)
      }
      from = wal.end.sequence - 20
      await wal.trim(from - 1)
      await wal.close()
      const { groups, result } = await scan({ ...options, from })
      expect(result.end).toMatchObject(wal.end)
      const known = withCommands(groups)
      expect(known).toEqual(known.map(({ sequence }) => written.get(sequence)))
      expect(known.length).toBeGreaterThanOrEqual(15)
      // Odd starts follow a clean stop, even ones a kill.
      wal =
        start % 2 === 0
          ? await Wal.continueAt(options, result.segments, result.end ?? expect.fail('no end'))
          : (await recover(options, from)).wal
    }
    await wal.close()
    expect(options.slabs.bytesInUse).toBe(0)
  })

  it('reads what it wrote through the descriptors of its segments', async () => {
    const options = await realOptions()
    const wal = await Wal.createFirst(options)
    for (let mark = 0; mark < 40; mark++) {
      const commands = commandsOf(9_000, mark)
      const committed = await wal.commit({ commands, time: 5 })
      const body = new Uint8Array(commands[0]?.byteLength ?? 0)
      expect(
        await wal.files.read(committed.segment, body, committed.position + (committed.bodyStarts[0] ?? 0)),
      ).toBe(body.length)
      const { commands: texts } = contentOfCommands({ sequence: 1, time: 5, commands })
      expect(texts[0]?.endsWith(Buffer.from(body).toString('latin1'))).toBe(true)
      options.slabs.release(committed.slab)
    }
    expect(wal.segmentNumber).toBeGreaterThan(5)
    await wal.close()
  })
})
