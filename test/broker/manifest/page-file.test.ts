import { describe, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { PAGE_BYTES, PageFile, readPages, withPages } from '../../../broker/manifest/page-file.js'
import { PageSlots } from '../../../broker/manifest/page-slots.js'
import type { DedupPageRow, ManifestContents } from '../../../broker/manifest/rows.js'
import type { TopicId } from '../../../protocol/ids.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'

const path = '/dedup-pages'
const topicId = 'a'.repeat(32) as TopicId

const bytesOf = (seed: number): Uint8Array => new Uint8Array(PAGE_BYTES).fill(seed % 251)

const rowOf = (page: number, slot: number | null, hashes = bytesOf(page)): DedupPageRow => ({
  ...{ topicId, start: 1_000, page, slot, runs: new Uint8Array(16) },
  ...(slot === null ? { hashes, crc: 0 } : { hashes: new Uint8Array(0), crc: crc32(hashes) }),
})

async function written(disk: SimulatedDisk, slots: readonly number[]): Promise<DedupPageRow[]> {
  const file = new PageFile({ disk, path })
  await file.write(slots.map((slot, page) => ({ slot, bytes: bytesOf(page) })))
  await file.close()
  return slots.map((slot, page) => rowOf(page, slot))
}

describe('a page file', () => {
  test('gives back what was written, wherever it stands, also after a power cut', async () => {
    const disk = new SimulatedDisk()
    // More than one piece in a row, then holes, then back.
    const rows = await written(disk, [...Array.from({ length: 150 }, (_, i) => i), 300, 290, 291, 160])
    const inline = rowOf(999, null)
    const read = await readPages({ disk: disk.crash(), path, rows: [inline, ...rows] })
    expect(read).toMatchObject({ faults: [], slots: 301 })
    expect(read.rows.map(({ page, hashes }) => [page, hashes[0], hashes.length])).toEqual(
      [inline, ...rows].map(({ page }) => [page, bytesOf(page)[0], PAGE_BYTES]),
    )
  })

  test('that is not there has no pages, and is missed by whoever needs one', async () => {
    const disk = new SimulatedDisk()
    expect(await readPages({ disk, path, rows: [rowOf(1, null)] })).toMatchObject({ faults: [], slots: 0 })
    const contents = { dedupPages: [rowOf(7, 2)] } as unknown as ManifestContents
    await expect(withPages(contents, { disk, path })).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
      message: expect.stringContaining('it ends before page 7'),
      details: { file: path, byteOffset: 2 * PAGE_BYTES },
    })
  })

  test('names the page of which a byte has changed, and reads the others', async () => {
    const disk = new SimulatedDisk()
    const rows = await written(disk, [0, 1, 2])
    disk.flipBit(path, PAGE_BYTES + 5)
    const { faults } = await readPages({ disk, path, rows })
    expect(faults.map(({ row, error }) => [row.page, error.code, error.details])).toEqual([
      [1, 'CORRUPT_DATA', expect.objectContaining({ file: path, byteOffset: PAGE_BYTES })],
    ])
  })

  test('says when the disk refuses a page', async () => {
    const disk = new SimulatedDisk()
    await written(disk, [0])
    disk.failNext({ operation: 'write', path: /dedup-pages/, code: 'ENOSPC' })
    await expect(written(disk, [1])).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('places in a page file', () => {
  test.each([1, 2, 3, 4, 5])(
    'are never given out while the manifest or the newest snapshot refers to them (seed %i)',
    (seed) => {
      const random = new SeededRandom(seed)
      const manifest = new Set<number>()
      let snapshot = new Set<number>()
      let slots = new PageSlots()
      let sequence = 0
      let used = 0
      for (let step = 0; step < 2_000; step++) {
        sequence++
        for (let n = random.below(4); n > 0; n--) {
          const slot = slots.take()
          if (manifest.has(slot) || snapshot.has(slot)) expect.fail(`step ${step}: ${slot} is in use`)
          manifest.add(slot)
          used = Math.max(used, slot + 1)
        }
        for (const slot of [...manifest].filter(() => random.chance(0.06))) {
          manifest.delete(slot)
          slots.release(slot, sequence)
        }
        if (random.chance(0.1)) {
          snapshot = new Set(manifest)
          slots.reuse(sequence)
        }
        if (random.chance(0.02)) {
          slots = new PageSlots()
          slots.load({ count: used, used: manifest, sequence })
          slots.reuseBut(snapshot)
        }
      }
      // About 25 are in use at a time, and snapshots and starts are some steps apart.
      expect(used).toBeLessThan(150)
    },
  )
})
