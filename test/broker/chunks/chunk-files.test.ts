import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChunkFiles } from '../../../broker/chunks/chunk-files.js'
import { ChunkCorruption } from '../../../broker/chunks/corruption.js'
import type { OwnedSection } from '../../../broker/chunks/format.js'
import { ChunkRemoved } from '../../../broker/chunks/open-files.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { clusterIdFrom, topicIdFrom } from '../../../protocol/ids.js'
import { joined, type StoredEntry, storedEntries, storedEntry } from '../../support/entries.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { chunkDirectory, sealChunk, someClusterId } from './sealed-chunk.js'

const chunkId = 2 ** 32 + 7
const chunkPath = `${chunkDirectory}/0000000100000007.chunk`

async function diskWithDirectory(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  return disk
}

function chunkFiles(
  disk: SimulatedDisk,
  more: { openFilesMax?: number; indexCacheBytesMax?: number } = {},
): ChunkFiles {
  return new ChunkFiles({
    disk,
    directory: chunkDirectory,
    openFilesMax: 4,
    indexCacheBytesMax: 1 << 20,
    ...more,
  })
}

async function sealed(
  entries: readonly StoredEntry[],
  more: { indexIntervalBytes?: number } = {},
): Promise<{ disk: SimulatedDisk; files: ChunkFiles; owned: OwnedSection & { chunkId: number } }> {
  const disk = await diskWithDirectory()
  const [owned] = await sealChunk({ disk, chunkId, ...more }, [{ entries }])
  return { disk, files: chunkFiles(disk), owned: { ...(owned as OwnedSection), chunkId } }
}

/** What a read from `offset` must give: whole entries from the one that holds it on, at least one. */
function expectedRead(entries: readonly StoredEntry[], offset: number, maxBytes: number): StoredEntry[] {
  const from = entries.findIndex(({ header }) => header.baseOffset + header.lastOffsetDelta >= offset)
  const taken: StoredEntry[] = []
  let bytes = 0
  for (const entry of from < 0 ? [] : entries.slice(from)) {
    bytes += entry.bytes.length
    if (taken.length > 0 && bytes > maxBytes) break
    taken.push(entry)
  }
  return taken
}

describe('ChunkFiles', () => {
  it('reads back the appended bytes from any offset with any maxBytes', async () => {
    const plan = fc.record({
      entries: fc.array(
        fc.record({
          bytes: fc.oneof(fc.nat(300), fc.nat(40_000), fc.nat(200_000)),
          records: fc.integer({ min: 1, max: 5 }),
          gap: fc.constantFrom(0, 0, 3),
        }),
        { minLength: 1, maxLength: 40 },
      ),
      indexIntervalBytes: fc.constantFrom(256, 4_096, 65_536),
      reads: fc.array(
        fc.record({
          at: fc.double({ min: 0, max: 0.999, noNaN: true }),
          maxBytes: fc.oneof(fc.nat(500), fc.nat(300_000)),
        }),
        {
          minLength: 1,
          maxLength: 12,
        },
      ),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ entries: shapes, indexIntervalBytes, reads }) => {
        let offset = 1_000
        const entries = shapes.map(({ bytes, records, gap }, i) => {
          const entry = storedEntry({
            baseOffset: offset + (i === 0 ? 0 : gap),
            lastOffsetDelta: records - 1,
            payload: new Uint8Array(bytes).fill(i),
          })
          offset = entry.header.baseOffset + records
          return entry
        })
        const { files, owned } = await sealed(entries, { indexIntervalBytes })
        for (const { at, maxBytes } of reads) {
          // Each read goes on where it stopped, so that both the index and the kept positions are used.
          let from = owned.section.baseOffset + Math.floor(at * (offset - owned.section.baseOffset))
          for (let step = 0; step < 3 && from < offset; step++) {
            const expected = expectedRead(entries, from, maxBytes)
            const taken: number[] = []
            const takeMemory = (bytes: number) => {
              taken.push(bytes)
              return { bytes: new Uint8Array(bytes), release: () => {} }
            }
            const found = await files.read({ ...owned, offset: from, maxBytes, takeMemory })
            const largest = expected[0]?.bytes.length ?? 0
            expect(Math.max(...taken)).toBeLessThanOrEqual(Math.max(2 * maxBytes, largest) + 2 * 65_536)
            expect(Buffer.compare(joined(found.buffers), joined(expected.map(({ bytes }) => bytes)))).toBe(0)
            expect(found.bytes).toBe(joined(found.buffers).length)
            const last = expected.at(-1) as StoredEntry
            expect(found.nextOffset).toBe(last.header.baseOffset + last.header.lastOffsetDelta + 1)
            from = found.nextOffset
          }
        }
        await files.close()
      }),
      { numRuns: 60 },
    )
  })

  it('reads an entry that is larger than one read as a whole', async () => {
    const entries = storedEntries([100, 5_000_000, 100])
    const { files, owned } = await sealed(entries)
    const found = await files.read({ ...owned, offset: 1, maxBytes: 1_000 })
    expect(Buffer.compare(joined(found.buffers), entries[1]?.bytes as Uint8Array)).toBe(0)
    expect(found.nextOffset).toBe(2)
  })

  it('reads little for nothing where entries are large', async () => {
    // Three of four fit; the last one is always too large for what is left to ask for.
    const entries = storedEntries(Array.from({ length: 40 }, () => 262_200))
    const { disk, owned } = await sealed(entries)
    let bytesRead = 0
    let reads = 0
    const open = disk.open.bind(disk)
    disk.open = async (...args) => {
      const file = await open(...args)
      const read = file.read.bind(file)
      file.read = async (buffer, position) => {
        reads++
        bytesRead += buffer.length
        return await read(buffer, position)
      }
      return file
    }
    const files = chunkFiles(disk)
    let calls = 0
    for (let offset = 0; offset < 40; calls++) {
      const maxBytes = calls % 2 === 0 ? 1_048_576 : 261_000
      offset = (await files.read({ ...owned, offset, maxBytes })).nextOffset
    }
    const { byteStart, byteEnd } = owned.section
    expect(bytesRead / (byteEnd - byteStart)).toBeLessThan(1.1)
    // The file's header and the index are two of them.
    expect(reads).toBe(calls + 2)
  })

  it('needs no index to go on from the beginning', async () => {
    const entries = storedEntries(Array.from({ length: 10 }, () => 100_000))
    const { disk, files, owned } = await sealed(entries)
    disk.flipBit(chunkPath, owned.section.indexStart + 20)
    const first = await files.read({ ...owned, offset: 0, maxBytes: 250_000 })
    expect(first.nextOffset).toBe(2)
    expect((await files.read({ ...owned, offset: 2, maxBytes: 250_000 })).nextOffset).toBe(4)
    await expect(chunkFiles(disk).read({ ...owned, offset: 5, maxBytes: 1 })).rejects.toThrow(ChunkCorruption)
  })

  it('gives every reader buffers of its own', async () => {
    const { files, owned } = await sealed(storedEntries([50, 50]))
    const first = await files.read({ ...owned, offset: 0, maxBytes: 1_000 })
    first.buffers[0]?.fill(0xff)
    const second = await files.read({ ...owned, offset: 0, maxBytes: 1_000 })
    expect(second.buffers[0]?.[0]).toBe(0x4d)
  })

  it('gives back the memory that it was provided with, once what was read is released or cannot be given', async () => {
    const entries = storedEntries([100, 100_000, 5_000_000, 100])
    const { disk, files, owned } = await sealed(entries)
    let taken = 0
    let held = 0
    const takeMemory = (bytes: number) => {
      taken++
      held++
      return { bytes: new Uint8Array(bytes).fill(0xee), release: () => void held-- }
    }
    for (const [offset, { bytes }] of entries.entries()) {
      const read = await files.read({ ...owned, offset, maxBytes: 1_000, takeMemory })
      expect(Buffer.compare(joined(read.buffers), bytes)).toBe(0)
      expect(held).toBe(1)
      read.release()
      expect(held).toBe(0)
    }
    // Those that are larger than a read take memory a second time.
    expect(taken).toBe(entries.length + 2)
    const gapped = { ...owned, section: { ...owned.section, endOffset: 9 } }
    await files.read({ ...gapped, offset: 5, maxBytes: 1, takeMemory })
    expect(held).toBe(0)
    disk.flipBit(chunkPath, owned.section.byteEnd - 10)
    await expect(files.read({ ...owned, offset: 3, maxBytes: 1, takeMemory })).rejects.toThrow(
      ChunkCorruption,
    )
    expect(held).toBe(0)
  })

  it('passes over a gap at the end of a section', async () => {
    const { files, owned } = await sealed(storedEntries([50, 50]))
    const gapped = { ...owned, section: { ...owned.section, endOffset: 9 } }
    expect((await files.read({ ...gapped, offset: 0, maxBytes: 1 })).nextOffset).toBe(1)
    expect((await files.read({ ...gapped, offset: 1, maxBytes: 1 })).nextOffset).toBe(9)
    expect(await files.read({ ...gapped, offset: 5, maxBytes: 1 })).toMatchObject({
      buffers: [],
      bytes: 0,
      nextOffset: 9,
    })
  })

  it('refuses an offset outside the section, which is a fault of the caller', async () => {
    const { files, owned } = await sealed(storedEntries([50, 50]))
    await expect(files.read({ ...owned, offset: 2, maxBytes: 1 })).rejects.toThrow(RangeError)
  })

  it('finds the first batch at or after a time', async () => {
    const times = [10, 10, 20, 20, 20, 35, 50]
    const entries = times.map((appendTime, i) =>
      storedEntry({ baseOffset: i * 2, lastOffsetDelta: 1, appendTime, payload: new Uint8Array(300) }),
    )
    const { files, owned } = await sealed(entries, { indexIntervalBytes: 256 })
    for (let time = 0; time < 60; time++) {
      const first = entries.find(({ header }) => header.appendTime >= time)
      expect(await files.findTime({ ...owned, time })).toBe(first?.header.baseOffset ?? 14)
    }
  })

  it('finds a time past entries larger than one step of the walk', async () => {
    const entries = storedEntries([10, 200_000, 200_000, 10, 10], { appendTime: 100 })
    const { files, owned } = await sealed(entries, { indexIntervalBytes: 1 << 30 })
    for (let i = 0; i < 5; i++) expect(await files.findTime({ ...owned, time: 100 + i })).toBe(i)
  })

  it('reads each section of a chunk that several partitions share', async () => {
    const disk = await diskWithDirectory()
    const topicId = topicIdFrom('ab'.repeat(16))
    const plans = [0, 1, 2].map((partition) => ({
      topicId,
      partition,
      entries: storedEntries([10, 20, 30], { topicId, partition, baseOffset: partition * 100 }),
    }))
    const sections = await sealChunk({ disk, chunkId }, plans)
    const files = chunkFiles(disk)
    for (const [i, owned] of sections.entries()) {
      const found = await files.read({ ...owned, chunkId, offset: i * 100 + 1, maxBytes: 1_000 })
      const expected = plans[i]?.entries.slice(1).map(({ bytes }) => bytes) ?? []
      expect(Buffer.compare(joined(found.buffers), joined(expected))).toBe(0)
    }
  })

  it('names file and byte when an entry is damaged, and never returns it', async () => {
    const { disk, files, owned } = await sealed(storedEntries([50, 50, 50]))
    const secondEntry = owned.section.byteStart + 162
    disk.flipBit(chunkPath, secondEntry + 130)
    const failure = await files
      .read({ ...owned, offset: 0, maxBytes: 10_000 })
      .catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ChunkCorruption)
    expect(failure).toMatchObject({
      code: 'CORRUPT_DATA',
      fault: { file: chunkPath, byteOffset: secondEntry },
    })
    expect((await files.read({ ...owned, offset: 0, maxBytes: 1 })).nextOffset).toBe(1)
  })

  it('refuses entries of another partition even when their CRCs are right', async () => {
    const { files, owned } = await sealed(storedEntries([50]))
    await expect(files.read({ ...owned, partition: 1, offset: 0, maxBytes: 1 })).rejects.toThrow(/stands in/)
  })

  it('refuses an entry that stands in the place of a later one, and does not pass over the later one', async () => {
    const entries = storedEntries([50, 50, 50, 50])
    const { disk, owned } = await sealed(entries, { indexIntervalBytes: 100 })
    const bytes = await disk.readFile(chunkPath)
    const { byteStart } = owned.section
    bytes.set(bytes.slice(byteStart, byteStart + 162), byteStart + 2 * 162)
    await disk.replaceFile(chunkPath, bytes)
    const files = chunkFiles(disk)
    await expect(files.read({ ...owned, offset: 2, maxBytes: 1 })).rejects.toThrow(/out of their place/)
    expect((await files.read({ ...owned, offset: 3, maxBytes: 1 })).nextOffset).toBe(4)
    await expect(files.findTime({ ...owned, time: 1_700_000_000_002 })).rejects.toThrow(ChunkCorruption)
  })

  it('refuses a damaged index', async () => {
    const { disk, files, owned } = await sealed(storedEntries([50, 50]))
    disk.flipBit(chunkPath, owned.section.indexStart + 40)
    await expect(files.read({ ...owned, offset: 1, maxBytes: 1 })).rejects.toThrow(ChunkCorruption)
  })

  it('refuses a file of another chunk or another cluster, and one that is missing', async () => {
    const { disk, owned } = await sealed(storedEntries([50]))
    const stranger = new ChunkFiles({
      disk,
      directory: chunkDirectory,
      clusterId: clusterIdFrom('00'.repeat(16)),
      openFilesMax: 4,
      indexCacheBytesMax: 0,
    })
    await expect(stranger.read({ ...owned, offset: 0, maxBytes: 1 })).rejects.toThrow(/another cluster/)
    await disk.rename(chunkPath, `${chunkDirectory}/0000000000000009.chunk`)
    const files = chunkFiles(disk)
    await expect(files.read({ ...owned, chunkId: 9, offset: 0, maxBytes: 1 })).rejects.toThrow(
      /file of chunk/,
    )
    await expect(files.read({ ...owned, offset: 0, maxBytes: 1 })).rejects.toThrow(/missing/)
  })

  it('closes a file whose header it cannot read', async () => {
    const open: string[] = []
    const disk = new SimulatedDisk({
      onOperation: ({ operation, phase, path }) => {
        if (phase !== 'begin' || !path.endsWith('.chunk')) return
        if (operation === 'open') open.push(path)
        if (operation === 'close') open.splice(open.indexOf(path), 1)
      },
    })
    await disk.makeDirectory(chunkDirectory)
    const [section] = await sealChunk({ disk, chunkId }, [{ entries: storedEntries([50]) }])
    const owned = { ...(section as OwnedSection), chunkId }
    expect(open).toEqual([])
    const files = chunkFiles(disk)
    disk.failNext({ operation: 'read', code: 'EIO' })
    await expect(files.read({ ...owned, offset: 0, maxBytes: 1 })).rejects.toMatchObject({ code: 'EIO' })
    expect(open).toEqual([])
  })

  it('lists chunk files alone, in order', async () => {
    const disk = await diskWithDirectory()
    for (const id of [300, 2, 2 ** 40])
      await sealChunk({ disk, chunkId: id }, [{ entries: storedEntries([1]) }])
    await disk.replaceFile(`${chunkDirectory}/notes.txt`, new Uint8Array(1))
    await disk.replaceFile(`${chunkDirectory}/0000000000000005.chunk.broken`, new Uint8Array(1))
    expect(await chunkFiles(disk).list()).toEqual([2, 300, 2 ** 40])
  })

  it('unlinks a chunk only after the reads under way, and refuses later ones', async () => {
    const { disk, files, owned } = await sealed(storedEntries(Array(200).fill(1_000)))
    const reads = Array.from({ length: 20 }, (_, i) =>
      files.read({ ...owned, offset: i * 10, maxBytes: 5_000 }),
    )
    const removal = files.remove(chunkId)
    expect(await disk.exists(chunkPath)).toBe(true)
    await expect(files.read({ ...owned, offset: 0, maxBytes: 1 })).rejects.toThrow(ChunkRemoved)
    for (const [i, read] of reads.entries()) expect((await read).nextOffset).toBe(i * 10 + 4)
    await Promise.all([removal, files.remove(chunkId)])
    expect(await disk.exists(chunkPath)).toBe(false)
    await expect(files.read({ ...owned, offset: 0, maxBytes: 1 })).rejects.toThrow(ChunkRemoved)
    expect(await disk.crash({ keep: 0 }).exists(chunkPath)).toBe(false)
  })

  it('keeps at most openFilesMax files open once reads are over', async () => {
    const disk = await diskWithDirectory()
    const open = new Set<string>()
    let openMost = 0
    const counting = new Proxy(disk, {
      get(target, name) {
        const member = Reflect.get(target, name)
        if (name !== 'open') return typeof member === 'function' ? member.bind(target) : member
        return async (path: string, mode: 'read') => {
          const file = await target.open(path, mode)
          open.add(path)
          openMost = Math.max(openMost, open.size)
          const close = file.close.bind(file)
          file.close = () => {
            open.delete(path)
            return close()
          }
          return file
        }
      },
    })
    const owners = await Promise.all(
      [1, 2, 3, 4, 5].map(async (id) => {
        const [owned] = await sealChunk({ disk, chunkId: id }, [{ entries: storedEntries([10, 10, 10, 10]) }])
        return { ...(owned as OwnedSection), chunkId: id }
      }),
    )
    // Without a cache each of these reads twice: a file that was closed between the two would show.
    const files = chunkFiles(counting, { openFilesMax: 2, indexCacheBytesMax: 0 })
    await Promise.all(owners.map((owned) => files.read({ ...owned, offset: 3, maxBytes: 1 })))
    for (let round = 0; round < 3; round++) {
      for (const owned of owners) await files.read({ ...owned, offset: 0, maxBytes: 1 })
      await Promise.all(owners.map((owned) => files.read({ ...owned, offset: 1, maxBytes: 1 })))
    }
    await new Promise((resolve) => setImmediate(resolve))
    expect(open.size).toBeLessThanOrEqual(2)
    expect(openMost).toBeGreaterThan(1)
    await files.close()
    expect(open.size).toBe(0)
  })

  it('reads on without the index where the reader before stopped, and counts its reads', async () => {
    const { disk, owned } = await sealed(storedEntries(Array(100).fill(1_000)))
    const metrics = new MemoryMetrics()
    const files = new ChunkFiles({
      disk,
      directory: chunkDirectory,
      clusterId: someClusterId,
      openFilesMax: 1,
      indexCacheBytesMax: 0,
      metrics,
    })
    // A broken index proves that it is not looked at.
    disk.flipBit(chunkPath, owned.section.indexStart + 3)
    let offset = 0
    while (offset < 100) ({ nextOffset: offset } = await files.read({ ...owned, offset, maxBytes: 9_000 }))
    expect(metrics.snapshot().counters.chunkReads).toBe(13)
  })
})
