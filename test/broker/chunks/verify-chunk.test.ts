import { describe, expect, it } from 'vitest'
import { verifyChunk } from '../../../broker/chunks/verify-chunk.js'
import type { Disk } from '../../../broker/platform/disk.js'
import { clusterIdFrom } from '../../../protocol/ids.js'
import { storedEntries, storedEntry } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { chunkDirectory, sealChunk, someClusterId } from './sealed-chunk.js'

const chunkId = 11
const path = `${chunkDirectory}/000000000000000b.chunk`
const verify = (disk: Disk) =>
  verifyChunk({ disk, directory: chunkDirectory, chunkId, clusterId: someClusterId })

async function smallChunk(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  const withSection = storedEntry({
    baseOffset: 3,
    section: new Uint8Array([9, 8, 7]),
    appendTime: 1_800_000_000_000,
  })
  await sealChunk({ disk, chunkId, indexIntervalBytes: 128 }, [
    { entries: [...storedEntries([5, 40, 1]), withSection] },
    { partition: 1, entries: storedEntries([30], { partition: 1, baseOffset: 2 ** 40 }) },
  ])
  return disk
}

async function damaged(content: Uint8Array): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  const file = await disk.open(path, 'create')
  await file.write([content], 0)
  return disk
}

describe('verifyChunk', () => {
  it('finds nothing wrong with what the writer wrote', async () => {
    const disk = await smallChunk()
    const report = await verify(disk)
    expect(report.fault).toBeUndefined()
    expect(report.bytes).toBe((await disk.readFile(path)).length)
    expect(report.sections.map(({ partition, section }) => [partition, section.recordCount])).toEqual([
      [0, 4],
      [1, 1],
    ])
  })

  it('reports every byte of the file that is changed, one at a time', async () => {
    const content = await (await smallChunk()).readFile(path)
    const random = new SeededRandom(1)
    const unnoticed: number[] = []
    for (let at = 0; at < content.length; at++) {
      const changed = new Uint8Array(content)
      changed[at] = (changed[at] as number) ^ (1 + random.below(255))
      const { fault } = await verify(await damaged(changed))
      if (fault?.file !== path || fault.byteOffset > at) unnoticed.push(at)
    }
    expect(unnoticed).toEqual([])
  })

  it('reports a file that was cut short at any length, or that goes on behind its end', async () => {
    const content = await (await smallChunk()).readFile(path)
    const unnoticed: number[] = []
    for (let length = 0; length < content.length; length++) {
      if (!(await verify(await damaged(content.subarray(0, length)))).fault) unnoticed.push(length)
    }
    const longer = new Uint8Array(content.length + 64)
    longer.set(content)
    if (!(await verify(await damaged(longer))).fault) unnoticed.push(longer.length)
    longer.set(content.subarray(-64), content.length)
    if (!(await verify(await damaged(longer))).fault) unnoticed.push(longer.length)
    expect(unnoticed).toEqual([])
  })

  it('reports a missing file, and one of another cluster', async () => {
    const disk = await smallChunk()
    const options = { disk, directory: chunkDirectory, chunkId, clusterId: clusterIdFrom('ff'.repeat(16)) }
    expect((await verifyChunk(options)).fault?.reason).toMatch(/another cluster/)
    await disk.remove(path)
    expect((await verify(disk)).fault).toEqual({ file: path, byteOffset: 0, reason: 'the file is missing' })
  })

  it('reads chunks larger than its window, with entries larger than it too', async () => {
    const disk = new SimulatedDisk()
    await disk.makeDirectory(chunkDirectory)
    const entries = storedEntries([1_500_000, 10, 1_048_576 - 112, 3_000_000, ...Array(900).fill(1_500)])
    await sealChunk({ disk, chunkId }, [{ entries }])
    expect((await verify(disk)).fault).toBeUndefined()
    disk.flipBit(path, 4_000_000)
    expect((await verify(disk)).fault?.reason).toMatch(/payload/)
  })
})
