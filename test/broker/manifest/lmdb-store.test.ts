import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { StoreFailed } from '../../../broker/manifest/store.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'

const scratch = mkdtempSync(join(tmpdir(), 'millrace-lmdb-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const openStore = (name: string): Promise<LmdbStore> =>
  LmdbStore.open({ disk: nodeDisk, directory: join(scratch, name) })
const key = (i: number): Uint8Array => Uint8Array.from([1, i >> 8, i & 255])
const hasPrlimit = spawnSync('prlimit', ['--version']).status === 0

/** Lets no file of this process grow past a size: writes beyond fail, as on a full disk. */
function limitFileSize(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${bytes}:unlimited`])
}

describe('LmdbStore', () => {
  it('finds again after a restart what was committed', async () => {
    const store = await openStore('restart')
    await store.commit({ deletes: [], puts: [[key(1), key(2)]] })
    await store.close()
    const again = await openStore('restart')
    expect([...(again.get(key(1)) ?? [])]).toEqual([...key(2)])
    expect(again.sizeBytes()).toBeGreaterThanOrEqual(8_192)
    await again.close()
  })

  it('refuses a key that LMDB cannot hold before it begins the transaction', async () => {
    const store = await openStore('keys')
    const puts: [Uint8Array, Uint8Array][] = [
      [key(1), key(1)],
      [new Uint8Array(1_979).fill(1), key(1)],
    ]
    await expect(store.commit({ deletes: [], puts })).rejects.toThrow(RangeError)
    await store.commit({ deletes: [], puts: [[new Uint8Array(1_978).fill(1), key(1)]] })
    expect([...store.entries()].length).toBe(1)
    await store.close()
  })

  it('uses freed pages again, so that the file does not grow with the number of commits', async () => {
    const store = await openStore('reuse')
    const commit = (round: number): Promise<void> =>
      store.commit({
        deletes: [],
        puts: Array.from({ length: 500 }, (_, i) => [key(i), new Uint8Array(100).fill(round)]),
      })
    for (let round = 0; round < 10; round++) await commit(round)
    const early = store.sizeBytes()
    for (let round = 0; round < 60; round++) await commit(round)
    expect(store.sizeBytes()).toBeLessThan(early * 1.5)
    await store.close()
  })

  it.skipIf(!hasPrlimit)(
    'rejects a commit that the disk refuses, keeps what was there, and closes',
    async () => {
      const store = await openStore('full')
      await store.commit({ deletes: [], puts: [[key(1), key(1)]] })
      // lmdb-js reports the failure on the console too.
      const consoleError = vi.spyOn(console, 'error').mockImplementation(() => {})
      process.on('SIGXFSZ', ignore)
      try {
        limitFileSize(statSync(join(scratch, 'full', 'data.mdb')).size)
        const puts: [Uint8Array, Uint8Array][] = Array.from({ length: 5_000 }, (_, i) => [
          key(i),
          new Uint8Array(100),
        ])
        await expect(store.commit({ deletes: [], puts })).rejects.toThrow(
          /the manifest cannot be written: .*(File too large|Input\/output)/,
        )
      } finally {
        limitFileSize('unlimited')
        process.off('SIGXFSZ', ignore)
        consoleError.mockRestore()
      }
      expect([...store.entries()].length).toBe(1)
      // Room again, but what the disk holds is known only after a restart.
      await expect(store.commit({ deletes: [], puts: [] })).rejects.toThrow(StoreFailed)
      await store.close()
      const again = await openStore('full')
      expect([...again.entries()].length).toBe(1)
      await again.close()
    },
  )
})

const ignore = (): void => {}
