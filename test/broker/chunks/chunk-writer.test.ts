import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ChunkWriter } from '../../../broker/chunks/chunk-writer.js'
import { verifyChunk } from '../../../broker/chunks/verify-chunk.js'
import { directPieces } from '../../../broker/platform/direct-writer.js'
import { DiskError } from '../../../broker/platform/disk.js'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { someTopicId, storedEntries, storedEntry } from '../../support/entries.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { chunkDirectory, sealChunk, someClusterId } from './sealed-chunk.js'

const chunkId = 5
const path = `${chunkDirectory}/0000000000000005.chunk`

async function someDisk(
  onOperation?: (event: { phase: string; operation: string }) => void,
): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(onOperation ? { onOperation } : {})
  await disk.makeDirectory(chunkDirectory)
  return disk
}

const create = (disk: SimulatedDisk, more: object = {}): Promise<ChunkWriter> =>
  ChunkWriter.create({ disk, directory: chunkDirectory, chunkId, clusterId: someClusterId, ...more })

describe('ChunkWriter', () => {
  it('says where a section stands and names its bytes by the entry headers', async () => {
    const disk = await someDisk()
    const entries = storedEntries([10, 20, 30], { baseOffset: 7, recordsPerEntry: 4, appendTime: 90 })
    const [owned] = await sealChunk({ disk, chunkId }, [{ entries }])
    const hash = createHash('sha256')
    for (const { bytes } of entries) hash.update(bytes.subarray(0, 112))
    expect(owned?.section).toEqual({
      baseOffset: 7,
      endOffset: 19,
      byteStart: 64,
      byteEnd: 64 + 3 * 112 + 60,
      indexStart: 64 + 3 * 112 + 60,
      indexBytes: 32 + 24,
      recordCount: 12,
      minAppendTime: 90,
      maxAppendTime: 92,
      digest: hash.digest('hex').slice(0, 32),
    })
  })

  it('leaves a file that survives a crash right after finish', async () => {
    const disk = await someDisk()
    const sections = await sealChunk({ disk, chunkId }, [{ entries: storedEntries([3_000_000, 10]) }])
    const report = await verifyChunk({ disk: disk.crash({ keep: 0 }), directory: chunkDirectory, chunkId })
    expect(report).toMatchObject({ fault: undefined, sections })
  })

  it('writes in pieces, takes entries larger than a piece and syncs on the way', async () => {
    const operations: string[] = []
    const disk = await someDisk(({ phase, operation }) => phase === 'begin' && operations.push(operation))
    operations.length = 0
    const entries = storedEntries([100, 9_000, 100, 2_500, 4_096 - 112])
    await sealChunk({ disk, chunkId, pieces: directPieces(4_096), syncEveryBytes: 8_192 }, [{ entries }])
    expect(operations.filter((each) => each === 'write').length).toBe(5)
    expect(operations.filter((each) => each === 'sync').length).toBe(3)
    expect(operations.at(-1)).toBe('syncDirectory')
    expect((await verifyChunk({ disk, directory: chunkDirectory, chunkId })).fault).toBeUndefined()
  })

  it('does not keep what it was given: an entry may change once append resolved', async () => {
    const disk = await someDisk()
    const writer = await create(disk)
    const { bytes, header } = storedEntry({ payload: new Uint8Array(500).fill(3) })
    const view = bytes.slice()
    writer.beginSection({ topicId: someTopicId, partition: 0 })
    await writer.append(view, header)
    view.fill(0)
    await writer.endSection()
    await writer.finish()
    const content = await disk.readFile(path)
    expect(Buffer.compare(content.subarray(64, 64 + bytes.length), bytes)).toBe(0)
  })

  it('never seals a damaged entry, one of another partition or one out of order', async () => {
    const writer = await create(await someDisk())
    writer.beginSection({ topicId: someTopicId, partition: 0 })
    const [first, second] = storedEntries([10, 10])
    if (!first || !second) throw new Error('two entries')
    await writer.append(second.bytes, second.header)
    expect(() => writer.append(first.bytes, first.header)).toThrow(/offset 0 follows/)
    const stranger = storedEntry({ baseOffset: 9, partition: 3 })
    expect(() => writer.append(stranger.bytes, stranger.header)).toThrow(/section of/)
    const early = storedEntry({ baseOffset: 9, appendTime: 1 })
    expect(() => writer.append(early.bytes, early.header)).toThrow(/append time/)
    const bad = storedEntry({ baseOffset: 9, payload: new Uint8Array(9) })
    bad.bytes[115] = 1
    expect(() => writer.append(bad.bytes, bad.header)).toThrow(/payload does not match/)
    expect(() => writer.append(bad.bytes.subarray(1), bad.header)).toThrow(/wrong length/)
  })

  it('removes its file when it is given up', async () => {
    const disk = await someDisk()
    const writer = await create(disk)
    writer.beginSection({ topicId: someTopicId, partition: 0 })
    await writer.abort()
    await writer.abort()
    expect(await disk.list(chunkDirectory)).toEqual([])
  })

  it('never writes over a chunk id that was used', async () => {
    const disk = await someDisk()
    await sealChunk({ disk, chunkId }, [{ entries: storedEntries([1]) }])
    await expect(create(disk)).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it('passes its failpoints between write, sync and directory sync', async () => {
    const disk = await someDisk()
    const failpoints = new ArmedFailpoints()
    let unsynced: string[] = []
    failpoints.arm('chunkAfterWrite', () => {
      unsynced = disk.unsynced()
    })
    failpoints.arm('chunkBeforeDirectorySync', () => {
      throw new DiskError({ code: 'EIO', path, operation: 'failpoint' })
    })
    const sealing = sealChunk({ disk, chunkId, failpoints }, [{ entries: storedEntries([1]) }])
    await expect(sealing).rejects.toMatchObject({ code: 'EIO' })
    expect(unsynced).toContain(path)
    expect(await disk.crash({ keep: 0 }).exists(path)).toBe(false)
  })
})
