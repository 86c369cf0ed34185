import { copyFile, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { readLmdbFile } from '../../../broker/offline/lmdb-file.js'
import { refuseDamagedManifest } from '../../../broker/offline/manifest-rows.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { layoutOf } from '../../../broker/shard/layout.js'
import { SeededRandom } from '../../support/seeded-random.js'

let directory: string
const path = (): string => join(directory, 'data.mdb')

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-lmdb-'))
})

afterEach(() => rm(directory, { recursive: true }))

/** Commits at random until trees are deep, pages are free and values stand on pages of their own. Returns the rows. */
async function fill(commits: number): Promise<[string, string][]> {
  const random = new SeededRandom(3)
  const store = await LmdbStore.open({ disk: nodeDisk, directory })
  const keyOf = (n: number): Buffer => Buffer.from(`key ${String(n).padStart(6, '0')}`)
  for (let i = 0; i < commits; i++) {
    const puts: [Uint8Array, Uint8Array][] = []
    const deletes: Uint8Array[] = []
    for (let n = 0; n < 60; n++) {
      const key = keyOf(random.below(2_000))
      if (random.chance(0.4)) deletes.push(key)
      else puts.push([key, random.bytes(random.chance(0.05) ? random.below(20_000) : random.below(300))])
    }
    await store.commit({ deletes, puts })
  }
  const rows = [...store.entries()].map(([key, value]) => [hex(key), hex(value)] as [string, string])
  await store.close()
  return rows
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('readLmdbFile', () => {
  test('reads what LMDB wrote, with free pages, deep trees and large values', async () => {
    // The free list's keys are transactions: past 256 their bytes no longer sort as they do.
    for (const commits of [0, 1, 3, 40, 250]) {
      const expected = await fill(commits)
      const rows = await readLmdbFile(nodeDisk, path())
      expect(rows.map(({ key, value }) => [hex(key), hex(value)])).toEqual(expected)
      const bytes = await readFile(path())
      for (const { value, byteOffset } of rows.slice(0, 50)) {
        expect(hex(bytes.subarray(byteOffset, byteOffset + value.length))).toBe(hex(value))
      }
    }
  })

  test('names a file that is cut short, empty or something else', async () => {
    await fill(20)
    const whole = await readFile(path())
    for (const bytes of [
      Buffer.alloc(0),
      whole.subarray(0, 100),
      whole.subarray(0, whole.length - 4096 * 20),
      Buffer.alloc(32_768, 7),
    ]) {
      await writeFile(path(), bytes)
      await expect(readLmdbFile(nodeDisk, path())).rejects.toMatchObject({ name: 'LmdbFileFault' })
    }
  })

  test('refuses a damaged manifest as acknowledged data that is lost, and takes a missing one', async () => {
    const root = join(directory, 'data')
    await refuseDamagedManifest(nodeDisk, layoutOf(root))
    await fill(3)
    await mkdir(join(root, 'manifest'), { recursive: true })
    await copyFile(path(), join(root, 'manifest/data.mdb'))
    await refuseDamagedManifest(nodeDisk, layoutOf(root))
    const file = join(root, 'manifest/data.mdb')
    await truncate(file, 5_000)
    await expect(refuseDamagedManifest(nodeDisk, layoutOf(root))).rejects.toMatchObject({
      code: 'CORRUPT_DATA',
      details: { file, byteOffset: expect.any(Number) },
    })
  })

  test('names rows that are out of order, and a page that has two uses', async () => {
    await fill(40)
    const whole = await readFile(path())
    // The meta page of the newer transaction names the root, which is a branch by now.
    const meta = whole.readUInt32LE(152) > whole.readUInt32LE(4096 + 152) ? 0 : 4096
    const branch = whole.readUInt32LE(meta + 136) * 4096
    expect(whole.readUInt16LE(branch + 18)).toBe(1)
    const swapped = Buffer.from(whole)
    const node = (index: number): number => branch + 24 + whole.readUInt16LE(branch + 24 + 2 * index)
    const leaf = whole.readUInt16LE(node(0)) * 4096
    swapped.writeUInt16LE(whole.readUInt16LE(leaf + 24), leaf + 26)
    swapped.writeUInt16LE(whole.readUInt16LE(leaf + 26), leaf + 24)
    await writeFile(path(), swapped)
    await expect(readLmdbFile(nodeDisk, path())).rejects.toThrow(/out of order/)
    const doubled = Buffer.from(whole)
    whole.copy(doubled, node(1), node(0), node(0) + 6)
    await writeFile(path(), doubled)
    await expect(readLmdbFile(nodeDisk, path())).rejects.toThrow(/has two uses/)
  })

  test('names a page that is gone, whichever it is, unless it is free', async () => {
    const expected = await fill(30)
    const copy = join(directory, 'whole')
    await copyFile(path(), copy)
    const whole = await readFile(copy)
    let named = 0
    for (let at = 0; at < whole.length; at += 4096) {
      const bytes = Buffer.from(whole)
      bytes.fill(0x55, at, at + 4096)
      await writeFile(path(), bytes)
      const rows = await readLmdbFile(nodeDisk, path()).catch(() => undefined)
      if (rows === undefined) named++
      // What is left is a page of a large value, whose bytes its own CRC guards, or a free page.
      else expect(rows.map(({ key }) => hex(key))).toEqual(expected.map(([key]) => key))
    }
    expect(named).toBeGreaterThan(whole.length / 4096 / 3)
  })
})
