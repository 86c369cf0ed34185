import { describe, expect, it } from 'vitest'
import { DirectWriter, directPieces } from '../../../broker/platform/direct-writer.js'
import type { DiskFile } from '../../../broker/platform/disk.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'

const PIECE = 8192

async function newFile(): Promise<{ disk: SimulatedDisk; file: DiskFile; writer: DirectWriter }> {
  const disk = new SimulatedDisk()
  const file = await disk.open('/a', 'createDirect')
  return { disk, file, writer: new DirectWriter(file, { pieces: directPieces(PIECE) }) }
}

const bytesOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251)

describe('DirectWriter', () => {
  it.each([0, 1, 4096, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 77])(
    'puts %i bytes into a file that ends with them, whatever the parts',
    async (length) => {
      const content = bytesOf(length)
      for (const part of [1_000, 4096, PIECE, 3 * PIECE]) {
        const { disk, writer } = await newFile()
        for (let at = 0; at < length; at += part) await writer.put(content.subarray(at, at + part))
        expect(writer.bytes).toBe(length)
        await writer.end()
        expect(Buffer.compare(await disk.readFile('/a'), content)).toBe(0)
      }
    },
  )

  it('takes what fits at once, and copies it', async () => {
    const { disk, writer } = await newFile()
    const part = bytesOf(100)
    expect(writer.put(part)).toBeUndefined()
    part.fill(0)
    await writer.end()
    expect(Buffer.compare(await disk.readFile('/a'), bytesOf(100))).toBe(0)
  })

  it('fails with the write that failed, at the end at the latest', async () => {
    const { disk, writer } = await newFile()
    disk.failNext({ operation: 'write', code: 'ENOSPC' })
    const put = async (): Promise<void> => {
      await writer.put(bytesOf(PIECE))
      await writer.end()
    }
    await expect(put()).rejects.toMatchObject({ code: 'ENOSPC' })
    await writer.settle()
  })

  it('refuses pieces that are no whole blocks', async () => {
    const { file } = await newFile()
    expect(() => new DirectWriter(file, { pieces: directPieces(5_000) })).toThrow(RangeError)
  })
})
