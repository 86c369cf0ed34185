import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ManifestCorruption } from '../../../broker/manifest/corruption.js'
import { checkLmdbFile } from '../../../broker/manifest/lmdb-file.js'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { Manifest } from '../../../broker/manifest/manifest.js'
import type { StoreEntry, StoreView } from '../../../broker/manifest/store.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { putAll, someContents } from './rows.js'

const scratch = mkdtempSync(join(tmpdir(), 'millrace-lmdb-file-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const contents = someContents({ topics: 2, partitions: 8, chunks: 3 })
let whole: Buffer

/** What comes of a start on these bytes: the contents, or the reason for the refusal. */
async function startOn(bytes: Uint8Array, name: string): Promise<unknown> {
  const directory = join(scratch, name)
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'data.mdb'), bytes)
  let store: LmdbStore | undefined
  try {
    store = await LmdbStore.open({ disk: nodeDisk, directory })
    return new Manifest(store).load()
  } catch (error) {
    return error
  } finally {
    await store?.close()
    rmSync(directory, { recursive: true })
  }
}

beforeAll(async () => {
  const directory = join(scratch, 'whole')
  const store = await LmdbStore.open({ disk: nodeDisk, directory })
  const manifest = new Manifest(store)
  manifest.load()
  await manifest.flush(putAll(contents))
  await manifest.flush(putAll(contents))
  await store.close()
  whole = readFileSync(join(directory, 'data.mdb'))
})

describe('checkLmdbFile', () => {
  it('finds nothing wrong with what LMDB writes, large values, deletes and open views included', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const random = new SeededRandom(seed)
      const directory = join(scratch, `random-${seed}`)
      let store = await LmdbStore.open({ disk: nodeDisk, directory })
      let view: StoreView | undefined
      const valueBytesMax = random.pick([20, 300, 9_000])
      for (let commit = 0; commit < 25; commit++) {
        const puts: StoreEntry[] = []
        const deletes: Uint8Array[] = []
        for (let i = random.pick([1, 30, 400]); i > 0; i--) {
          const key = Buffer.alloc(random.pick([5, 60]))
          key.writeUInt32BE(random.below(600), 1)
          if (random.chance(0.4)) deletes.push(key)
          else puts.push([key, new Uint8Array(1 + random.below(valueBytesMax))])
        }
        if (random.chance(0.2)) {
          view?.close()
          view = random.chance(0.5) ? store.view() : undefined
        }
        await store.commit({ puts, deletes })
        await expect(checkLmdbFile(nodeDisk, join(directory, 'data.mdb'))).resolves.toBeUndefined()
        if (!random.chance(0.1)) continue
        view = undefined
        await store.close()
        store = await LmdbStore.open({ disk: nodeDisk, directory })
      }
      await store.close()
    }
  })

  it('reads no page of a large file more than twice, however its tree is spread over it', async () => {
    const random = new SeededRandom(11)
    const directory = join(scratch, 'spread')
    const store = await LmdbStore.open({ disk: nodeDisk, directory })
    for (let commit = 0; commit < 20; commit++) {
      const keys = Array.from({ length: 2_000 }, () => Buffer.from(random.bytes(16)))
      await store.commit({ puts: keys.map((key) => [key, new Uint8Array(200)]), deletes: [] })
    }
    await store.close()
    const path = join(directory, 'data.mdb')
    let read = 0
    const open: typeof nodeDisk.open = async (...args) => {
      const file = await nodeDisk.open(...args)
      return Object.assign(Object.create(file) as typeof file, {
        size: () => file.size(),
        close: () => file.close(),
        read(buffer: Uint8Array, position: number) {
          read += buffer.length
          return file.read(buffer, position)
        },
      })
    }
    await checkLmdbFile({ ...nodeDisk, open }, path)
    const { size } = statSync(path)
    expect(size).toBeGreaterThan(8_000_000)
    expect(read).toBeGreaterThan(0.9 * size)
    expect(read).toBeLessThan(2.2 * size)
  })

  it('lets a changed byte lead to the right contents or to a named corruption, never to a crash', async () => {
    const unchanged = await startOn(whole, 'unchanged')
    expect(unchanged).toEqual(contents)
    const random = new SeededRandom(5)
    const surprises: string[] = []
    let refused = 0
    for (let at = 0; at < whole.length; at += 1 + random.below(256)) {
      const changed = Buffer.from(whole)
      changed[at] = (changed[at] as number) ^ (1 << random.below(8))
      const outcome = await startOn(changed, `flip-${at}`)
      if (outcome instanceof ManifestCorruption) refused++
      else if (JSON.stringify(outcome) !== JSON.stringify(unchanged)) surprises.push(`byte ${at}: ${outcome}`)
    }
    expect(surprises).toEqual([])
    expect(refused).toBeGreaterThan(20)
  })

  it('notices a page in use that is listed as free, which a later commit would overwrite', async () => {
    const path = join(scratch, 'listed.mdb')
    const reasons = new Set<string>()
    for (let at = 0; at + 8 <= whole.length; at += 2) {
      const word = whole.readBigUInt64LE(at)
      if (word < 2n || word > BigInt(whole.length / 4096)) continue
      const changed = Buffer.from(whole)
      changed.writeBigUInt64LE(whole.readBigUInt64LE(136), at) // the root of the main tree, or of the one before it
      writeFileSync(path, changed)
      await checkLmdbFile(nodeDisk, path).catch((error: ManifestCorruption) => reasons.add(error.reason))
    }
    expect(reasons).toContain('it is in use and on the free list, or twice on it')
  })

  it('names a file that was cut short, before LMDB dies of it', async () => {
    const surprises: number[] = []
    for (let length = 1; length < whole.length; length += 331) {
      const outcome = await startOn(whole.subarray(0, length), `cut-${length}`)
      if (!(outcome instanceof ManifestCorruption)) surprises.push(length)
    }
    expect(surprises).toEqual([])
  })

  it('takes a file that is missing or empty for a new one', async () => {
    await checkLmdbFile(nodeDisk, join(scratch, 'nowhere', 'data.mdb'))
    expect(await startOn(new Uint8Array(), 'empty')).toMatchObject({ shard: undefined })
  })
})
