import { describe, expect, it } from 'vitest'
import { encodeSegmentHeader, type SegmentHeader, segmentFileName } from '../../../broker/wal/segment.js'
import { SegmentFiles } from '../../../broker/wal/segment-files.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { directory, KIB, segmentPath, someIdentity } from './wal-fixture.js'

const segmentBytes = 16 * KIB

const headerOf = (number: number): SegmentHeader => ({
  ...someIdentity,
  number,
  firstSequence: number,
  previousCrc: 0,
  provenSequence: number - 1,
  bytes: segmentBytes,
  shardEpoch: 1,
  salt: number,
})

async function segmentFiles(
  options: { sparesMax?: number; keptBytesMax?: number; bytesMax?: number; disk?: SimulatedDisk } = {},
): Promise<{ disk: SimulatedDisk; files: SegmentFiles }> {
  const { disk = new SimulatedDisk(), sparesMax = 1, keptBytesMax = 0, ...bounds } = options
  await disk.makeDirectory(directory)
  return {
    disk,
    files: new SegmentFiles({ ...bounds, disk, directory, segmentBytes, sparesMax, keptBytesMax }),
  }
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

describe('SegmentFiles', () => {
  it('gives a segment its name only once its header is on disk, and hands it out once the name is', async () => {
    for (const moment of ['rename', 'open'] as const) {
      let disk = new SimulatedDisk()
      const found: string[] = []
      let opened = 0
      disk = new SimulatedDisk({
        onOperation: ({ operation, path, phase }) => {
          if (phase !== 'begin' || disk.isDead || operation !== moment) return
          if (operation === 'open' && (!path.endsWith(segmentFileName(1)) || path.includes('spare-'))) return
          opened++
          disk = disk.crash({ keep: 0 })
        },
      })
      const { files } = await segmentFiles({ disk })
      void files.create(headerOf(1)).catch(() => {})
      await turns(60)
      expect(opened).toBe(1)
      for (const name of await disk.list(directory)) {
        const content = await disk.readFile(`${directory}/${name}`)
        expect(content.length).toBe(segmentBytes)
        expect(Buffer.compare(content.subarray(0, 4096), encodeSegmentHeader(headerOf(1)))).toBe(0)
        found.push(name)
      }
      expect(found).toEqual([moment === 'rename' ? 'spare-0000000000000001.wal' : segmentFileName(1)])
    }
  })

  it('takes over whole spares up to its stock, and removes the others', async () => {
    const { disk, files } = await segmentFiles({ sparesMax: 2 })
    for (const [number, bytes] of [
      [1, 100],
      [2, segmentBytes],
      [3, segmentBytes * 2],
      [7, segmentBytes],
      [9, segmentBytes],
    ]) {
      await disk.replaceFile(
        `${directory}/spare-${segmentFileName(number as number)}`,
        new Uint8Array(bytes as number),
      )
    }
    await disk.replaceFile(`${directory}/spare-notes.txt`, new Uint8Array(5))
    await files.adoptSpares()
    expect(await disk.list(directory)).toEqual([
      'spare-0000000000000002.wal',
      'spare-0000000000000007.wal',
      'spare-notes.txt',
    ])
    // A new one takes a name that was not there before.
    await files.create(headerOf(1))
    await files.restock()
    await files.create(headerOf(2))
    await files.create(headerOf(3))
    expect(await disk.list(directory)).toEqual([...[1, 2, 3].map(segmentFileName), 'spare-notes.txt'])
  })

  it('makes a segment durable out of a spare whose size and name a killed process had left in the page cache', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const first = new SimulatedDisk({ seed })
      const before = await segmentFiles({ disk: first, sparesMax: 2 })
      const file = await before.files.create(headerOf(1))
      await file.close()
      void before.files.prepareSpare().catch(() => {})
      void before.files.retire(1).catch(() => {})
      await turns(seed % 12)
      const disk = first.kill()
      const { files } = await segmentFiles({ disk, sparesMax: 2 })
      await files.adoptSpares()
      expect(disk.unsynced()).toEqual([])
      const other = disk.exists(segmentPath(1))
      await files.create(headerOf(2))
      const after = disk.crash({ keep: 0 })
      expect((await after.readFile(segmentPath(2))).length).toBe(segmentBytes)
      const names = await after.list(directory)
      if (names.includes(segmentFileName(1))) {
        expect(await other).toBe(true)
        const header = (await after.readFile(segmentPath(1))).subarray(0, 4096)
        expect(Buffer.compare(header, encodeSegmentHeader(headerOf(1)))).toBe(0)
      }
    }
  })

  it('keeps the bytes of a retired segment in place while a read of it is under way', async () => {
    const { disk, files } = await segmentFiles()
    const file = await files.create(headerOf(1))
    await file.write([new Uint8Array(4096).fill(7)], 8192)
    const buffers = [new Uint8Array(100), new Uint8Array(100)]
    const reads = buffers.map((buffer) => files.read(1, buffer, 8192))
    const retired = files.retire(1)
    // While it is pinned no other segment is made of it.
    expect(await disk.exists(segmentPath(1))).toBe(true)
    expect(await Promise.all(reads)).toEqual([100, 100])
    for (const buffer of buffers) expect(buffer.every((byte) => byte === 7)).toBe(true)
    await retired
    expect(await disk.list(directory)).toEqual(['spare-0000000000000002.wal'])
    expect(await files.read(1, new Uint8Array(10), 0)).toBeUndefined()
  })

  it('reads again after an open that failed', async () => {
    const { disk, files } = await segmentFiles()
    await files.create(headerOf(1))
    disk.failNext({ operation: 'open', code: 'EMFILE' })
    await expect(files.read(1, new Uint8Array(10), 0)).rejects.toMatchObject({ code: 'EMFILE' })
    expect(await files.read(1, new Uint8Array(10), 0)).toBe(10)
    disk.failNext({ operation: 'open', code: 'EMFILE' })
    const { files: other } = await segmentFiles({ disk })
    other.add(headerOf(1))
    await expect(other.read(1, new Uint8Array(10), 0)).rejects.toMatchObject({ code: 'EMFILE' })
    await other.close()
    await files.retire(1)
  })

  it('leaves half of its stock to recycled segments', async () => {
    const { disk, files } = await segmentFiles({ sparesMax: 4 })
    const spares = async (): Promise<number> =>
      (await disk.list(directory)).filter((name) => name.startsWith('spare-')).length
    for (let i = 0; i < 6; i++) await files.restock()
    expect(await spares()).toBe(2)
    expect(disk.unsynced()).toEqual([])
    for (let number = 1; number <= 6; number++) await files.create(headerOf(number))
    for (let number = 1; number <= 6; number++) await files.retire(number)
    expect(await spares()).toBe(4)
    expect(await disk.list(directory)).toHaveLength(4)
  })

  it('keeps what is trimmed all at once, while the files together are within their bound', async () => {
    const { disk, files } = await segmentFiles({ sparesMax: 2, keptBytesMax: 6 * segmentBytes })
    for (let number = 1; number <= 9; number++) await files.create(headerOf(number))
    for (let number = 1; number <= 8; number++) await files.retire(number)
    // One segment and five spares.
    expect(await disk.list(directory)).toHaveLength(6)
    const { files: next } = await segmentFiles({ disk, sparesMax: 2, keptBytesMax: 6 * segmentBytes })
    next.add(headerOf(9))
    await next.adoptSpares()
    expect(await disk.list(directory)).toHaveLength(6)
  })

  it('makes no spare ahead, and keeps none, that would bring the files to their cap', async () => {
    const { disk, files } = await segmentFiles({ sparesMax: 2, bytesMax: 4 * segmentBytes })
    for (const number of [1, 2, 3]) {
      await files.create(headerOf(number))
      await files.restock()
    }
    expect(await disk.list(directory)).toHaveLength(3)
    await files.retire(1)
    await files.retire(2)
    expect(await disk.list(directory)).toHaveLength(3)
    await files.create(headerOf(4))
    await files.create(headerOf(5))
    await files.restock()
    expect(await disk.list(directory)).toHaveLength(3)
  })

  it('leaves no half-made spare when the disk is full, and makes one when there is room', async () => {
    const { disk, files } = await segmentFiles()
    disk.failNext({ operation: 'write', code: 'ENOSPC' })
    await expect(files.restock()).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(await disk.list(directory)).toEqual([])
    await files.create(headerOf(1))
    expect(await disk.list(directory)).toEqual([segmentFileName(1)])
  })
})
