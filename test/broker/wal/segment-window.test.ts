import { describe, expect, it } from 'vitest'
import { DiskError } from '../../../broker/platform/disk.js'
import type { SegmentHeader } from '../../../broker/wal/segment.js'
import { SegmentWindow } from '../../../broker/wal/segment-window.js'
import { WindowMemory } from '../../../broker/wal/window-memory.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { directory, segmentPath, someIdentity } from './wal-fixture.js'

const MIB = 1024 * 1024
const BYTES = 27 * MIB + 4096

const segment: SegmentHeader = {
  ...someIdentity,
  number: 1,
  firstSequence: 1,
  previousCrc: 0,
  provenSequence: 0,
  bytes: BYTES,
  shardEpoch: 1,
  salt: 7,
}

/** Each word of it is another one. */
const content = Buffer.from(Uint32Array.from({ length: BYTES / 4 }, (_, i) => i).buffer)

async function diskWith(bytes: Uint8Array): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await disk.makeDirectory(directory)
  const file = await disk.open(segmentPath(1), 'create')
  await file.write([bytes], 0)
  await file.close()
  return disk
}

/** Fails with the place: a comparison of megabytes as text says nothing. */
function expectContent(view: Uint8Array, position: number, length: number): void {
  const wanted = content.subarray(position, Math.min(position + length, BYTES))
  if (Buffer.compare(view, wanted) !== 0) throw new Error(`not the ${length} bytes at ${position}`)
}

describe('SegmentWindow', () => {
  it('shows groups of all sizes one after the other, wherever a window ends', async () => {
    const disk = await diskWith(content)
    const memory = new WindowMemory()
    const random = new SeededRandom(5)
    for (const groupBytesMax of [8_192, 300_000, 3 * MIB, 11 * MIB]) {
      const window = await SegmentWindow.open(segment, { disk, directory, memory })
      for (let position = 4096; position < BYTES; ) {
        expectContent(await window.view(position, 4096), position, 4096)
        const length = 4096 * Math.ceil((random.uint32() % groupBytesMax) / 4096 + 0.1)
        expectContent(await window.view(position, length), position, length)
        position += length
      }
      await window.close()
    }
  })

  it('goes back and forth', async () => {
    const disk = await diskWith(content)
    const window = await SegmentWindow.open(segment, { disk, directory, memory: new WindowMemory() })
    const random = new SeededRandom(6)
    for (let look = 0; look < 60; look++) {
      const position = random.uint32() % BYTES
      const length = random.uint32() % (look % 2 === 0 ? 5 * MIB : 5_000)
      expectContent(await window.view(position, length), position, length)
    }
    expect(await window.view(BYTES, 10)).toHaveLength(0)
    await window.close()
  })

  it('reads each byte once while it moves on', async () => {
    const disk = await diskWith(content)
    let read = 0
    const counting = Object.assign(Object.create(disk) as SimulatedDisk, {
      open: async (...args: Parameters<SimulatedDisk['open']>) => {
        const file = await disk.open(...args)
        return Object.assign(Object.create(file) as typeof file, {
          close: () => file.close(),
          read: (buffer: Uint8Array, position: number) => {
            read += buffer.length
            return file.read(buffer, position)
          },
        })
      },
    })
    const window = await SegmentWindow.open(segment, {
      disk: counting,
      directory,
      memory: new WindowMemory(),
    })
    for (let position = 0; position < BYTES; position += 300_000) await window.view(position, 300_000)
    await window.close()
    expect(read).toBe(BYTES)
  })

  it('shows what there is of a file that ends early', async () => {
    const disk = await diskWith(content.subarray(0, 9 * MIB))
    const window = await SegmentWindow.open(segment, { disk, directory, memory: new WindowMemory() })
    for (let position = 0; position < 9 * MIB; position += MIB)
      expectContent(await window.view(position, MIB), position, MIB)
    expect(await window.view(9 * MIB - 100, 4096)).toHaveLength(100)
    expect(await window.view(9 * MIB, 4096)).toHaveLength(0)
    await window.close()
  })

  it('tells of a read that failed ahead when its bytes are wanted, and not before', async () => {
    const disk = await diskWith(content)
    const failing = Object.assign(Object.create(disk) as SimulatedDisk, {
      open: async (...args: Parameters<SimulatedDisk['open']>) => {
        const file = await disk.open(...args)
        return Object.assign(Object.create(file) as typeof file, {
          close: () => file.close(),
          read: async (buffer: Uint8Array, position: number) => {
            if (position >= 6 * MIB && position < 7 * MIB)
              throw new DiskError({ code: 'EIO', path: file.path, operation: 'read' })
            return await file.read(buffer, position)
          },
        })
      },
    })
    const window = await SegmentWindow.open(segment, { disk: failing, directory, memory: new WindowMemory() })
    expectContent(await window.view(0, 4096), 0, 4096)
    await new Promise((resolve) => setImmediate(resolve))
    expectContent(await window.view(3 * MIB, MIB), 3 * MIB, MIB)
    await expect(window.view(6 * MIB, 4096)).rejects.toMatchObject({ code: 'EIO' })
    expectContent(await window.view(12 * MIB, 4096), 12 * MIB, 4096)
    await window.close()
  })
})
