import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChunkFiles } from '../../../broker/chunks/chunk-files.js'
import { ChunkCorruption } from '../../../broker/chunks/corruption.js'
import type { OwnedSection } from '../../../broker/chunks/format.js'
import type { LentSection } from '../../../broker/chunks/lent-section.js'
import { ChunkRemoved } from '../../../broker/chunks/open-files.js'
import { topicIdFrom } from '../../../protocol/ids.js'
import { joined, type StoredEntry, storedEntries, storedEntry } from '../../support/entries.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { chunkDirectory, sealChunk } from './sealed-chunk.js'

const chunkId = 2 ** 32 + 7
const path = `${chunkDirectory}/0000000100000007.chunk`

async function sealed(entries: readonly StoredEntry[], indexIntervalBytes = 4_096) {
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  const [owned] = await sealChunk({ disk, chunkId, indexIntervalBytes }, [{ entries }])
  const files = new ChunkFiles({
    disk,
    directory: chunkDirectory,
    openFilesMax: 2,
    indexCacheBytesMax: 1 << 20,
  })
  const address = { ...(owned as OwnedSection), chunkId }
  return { disk, files, address, bytes: joined(entries.map(({ bytes }) => bytes)) }
}

/** A range, read with a buffer of one size. */
async function bytesOf(
  lent: LentSection,
  {
    start = 0,
    end = lent.bytes,
    pieceBytes = 10_000,
  }: { start?: number; end?: number; pieceBytes?: number } = {},
): Promise<Uint8Array> {
  const pieces = await lent.pieces({ start, end })
  const found: Uint8Array[] = []
  const buffer = new Uint8Array(pieceBytes)
  for (let piece = await pieces.next(buffer); piece.length > 0; piece = await pieces.next(buffer)) {
    found.push(piece.slice())
  }
  return joined(found)
}

describe('a section that is lent', () => {
  it.each([
    ['topic', { topicId: topicIdFrom('f'.repeat(32)) }],
    ['partition', { partition: 1 }],
  ])('gives nothing that is of another %s, though its CRCs are right', async (_what, other) => {
    const { files, address } = await sealed(storedEntries([50]))
    const lent = await files.lend({ ...address, ...other })
    await expect(bytesOf(lent)).rejects.toThrow(/stands in/)
    lent.close()
    await files.close()
  })

  it('gives any range of its bytes, in pieces of any size', async () => {
    const plan = fc.record({
      sizes: fc.array(fc.oneof(fc.nat(300), fc.nat(20_000)), { minLength: 1, maxLength: 30 }),
      indexIntervalBytes: fc.constantFrom(256, 4_096, 65_536),
      ranges: fc.array(
        fc.record({
          at: fc.double({ min: 0, max: 0.999, noNaN: true }),
          to: fc.double({ min: 0, max: 1, noNaN: true }),
          pieceBytes: fc.constantFrom(1, 111, 112, 113, 1_000, 50_000).filter((bytes) => bytes > 50),
        }),
        { minLength: 1, maxLength: 6 },
      ),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ sizes, indexIntervalBytes, ranges }) => {
        const { files, address, bytes } = await sealed(storedEntries(sizes), indexIntervalBytes)
        const lent = await files.lend(address)
        expect(lent.bytes).toBe(bytes.length)
        for (const { at, to, pieceBytes } of ranges) {
          const start = Math.floor(at * bytes.length)
          const end = Math.max(start + 1, Math.floor(to * bytes.length))
          const found = await bytesOf(lent, { start, end, pieceBytes })
          expect(Buffer.compare(found, bytes.subarray(start, end))).toBe(0)
        }
        expect(Buffer.compare(await bytesOf(lent), bytes)).toBe(0)
        lent.close()
        await files.close()
      }),
      { numRuns: 40 },
    )
  })

  it('gives a short range with a few reads, wherever it lies', async () => {
    const { disk, files, address, bytes } = await sealed(storedEntries(Array(200).fill(1_000)), 65_536)
    let reads = 0
    const open = disk.open.bind(disk)
    disk.open = async (file, mode) => {
      const one = await open(file, mode)
      const read = one.read.bind(one)
      one.read = (buffer, position) => {
        reads++
        return read(buffer, position)
      }
      return one
    }
    const lent = await files.lend(address)
    for (const start of [0, 60_000, bytes.length - 1]) {
      const found = await bytesOf(lent, { start, end: start + 1, pieceBytes: 1 })
      expect(found).toEqual(bytes.subarray(start, start + 1))
    }
    // Header, index, and for each range what leads to it, its byte, and the rest of the entry.
    expect(reads).toBeLessThan(15)
  })

  it('gives a range byte by byte', async () => {
    const { files, address, bytes } = await sealed(storedEntries([3, 0, 500]))
    const lent = await files.lend(address)
    const found = await bytesOf(lent, { start: 100, end: 300, pieceBytes: 1 })
    expect(Buffer.compare(found, bytes.subarray(100, 300))).toBe(0)
  })

  it('gives whole entries, read by read', async () => {
    const entries = storedEntries([10, 200, 30_000, 5, 0])
    const { files, address, bytes } = await sealed(entries)
    const lent = await files.lend(address)
    for (const maxBytes of [1, 500, 1 << 20]) {
      const found: Uint8Array[] = []
      for await (const read of lent.entries({ maxBytes })) found.push(...read.buffers)
      expect(Buffer.compare(joined(found), bytes)).toBe(0)
    }
  })

  it('never gives the end of what holds a flipped bit, whatever the bit and the pieces', async () => {
    const entries = storedEntries([50, 700, 20])
    const whole = joined(entries.map(({ bytes }) => bytes))
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.nat(7),
        fc.constantFrom(60, 5_000),
        async (at, bit, pieceBytes) => {
          const { disk, files, address } = await sealed(entries)
          await flip(disk, address.section.byteStart + at, bit)
          const lent = await files.lend(address)
          await expect(bytesOf(lent, { pieceBytes })).rejects.toBeInstanceOf(ChunkCorruption)
          // Nor that of any range that touches the entry.
          await expect(bytesOf(lent, { start: at, end: at + 1, pieceBytes })).rejects.toBeInstanceOf(
            ChunkCorruption,
          )
        },
      ),
      { numRuns: 60 },
    )
  })

  it('gives no entry of another place, though its checksums are right', async () => {
    const entries = storedEntries([50, 50, 50])
    const { disk, files, address } = await sealed(entries)
    const second = address.section.byteStart + (entries[0]?.bytes.length ?? 0)
    const other = storedEntry({ baseOffset: 0, payload: new Uint8Array(50), appendTime: 1_700_000_000_001 })
    const file = await disk.open(path, 'readWrite')
    await file.write([other.bytes], second)
    await file.close()
    await expect(bytesOf(await files.lend(address))).rejects.toThrow('out of their place')
  })

  it('is read to its end though its chunk is removed, which nobody waits for; it cannot be lent again', async () => {
    const { disk, files, address, bytes } = await sealed(storedEntries([40_000, 40_000]))
    const lent = await files.lend(address)
    const pieces = await lent.pieces({ start: 0, end: lent.bytes })
    const first = (await pieces.next(new Uint8Array(10_000))).slice()
    await files.remove(chunkId)
    expect(await disk.exists(path)).toBe(false)
    await expect(files.lend(address)).rejects.toBeInstanceOf(ChunkRemoved)
    const rest: Uint8Array[] = []
    for (let piece = await pieces.next(new Uint8Array(10_000)); piece.length > 0; ) {
      rest.push(piece)
      piece = await pieces.next(new Uint8Array(10_000))
    }
    expect(Buffer.compare(joined([first, ...rest]), bytes)).toBe(0)
    lent.close()
    lent.close()
  })

  it('is open once for all who have it, and closed with the last of them', async () => {
    const { disk, files, address } = await sealed(storedEntries([100]))
    const opened: string[] = []
    const closed: string[] = []
    const open = disk.open.bind(disk)
    disk.open = async (file, mode) => {
      opened.push(file)
      const one = await open(file, mode)
      const close = one.close.bind(one)
      one.close = async () => {
        closed.push(file)
        await close()
      }
      return one
    }
    const [a, b] = await Promise.all([files.lend(address), files.lend(address)])
    expect(opened).toEqual([path])
    a.close()
    expect((await bytesOf(b)).length).toBe(b.bytes)
    expect(closed).toEqual([])
    b.close()
    await new Promise((resolve) => setTimeout(resolve))
    expect(closed).toEqual([path])
    await files.close()
  })
})

async function flip(disk: SimulatedDisk, position: number, bit: number): Promise<void> {
  const file = await disk.open(path, 'readWrite')
  const byte = new Uint8Array(1)
  await file.read(byte, position)
  byte[0] = (byte[0] ?? 0) ^ (1 << bit)
  await file.write([byte], position)
  await file.close()
}
