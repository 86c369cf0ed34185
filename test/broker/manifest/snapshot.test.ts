import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { Manifest } from '../../../broker/manifest/manifest.js'
import type { ManifestContents, ShardRow } from '../../../broker/manifest/rows.js'
import { listSnapshots, restoreSnapshot, writeSnapshot } from '../../../broker/manifest/snapshot.js'
import { SnapshotCorruption } from '../../../broker/manifest/snapshot-format.js'
import { verifySnapshot } from '../../../broker/manifest/snapshot-reader.js'
import type { Store } from '../../../broker/manifest/store.js'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { SimulatedStore } from '../../support/simulated-store.js'
import { putAll, someContents } from './rows.js'

const directory = '/snapshots'
const scratch = mkdtempSync(join(tmpdir(), 'millrace-snapshot-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

async function filled<S extends Store>(store: S, contents: ManifestContents): Promise<S> {
  const manifest = new Manifest(store)
  manifest.load()
  await manifest.flush(putAll(contents))
  return store
}

function at(contents: ManifestContents, sequence: number): ManifestContents {
  return {
    ...contents,
    shard: { ...(contents.shard as ShardRow), applied: { sequence, headerCrc: 7 }, replayFrom: 1 },
  }
}

const small = at(someContents({ topics: 1, partitions: 2, chunks: 1 }), 42)

describe('snapshots', () => {
  it('restore the manifest that they were taken of', async () => {
    const disk = new SimulatedDisk()
    const contents = at(someContents({ topics: 3, partitions: 40, chunks: 10 }), 42)
    const store = await filled(new SimulatedStore(), contents)
    const written = await writeSnapshot({ disk, directory, store })
    expect(written).toMatchObject({
      path: `${directory}/0000000000000042.snapshot`,
      applied: { sequence: 42, headerCrc: 7 },
    })
    const after = disk.crash({ keep: 0 })
    expect(await verifySnapshot(after, written.path)).toEqual({
      applied: written.applied,
      pageSlots: new Set(),
      rows: written.rows,
      bytes: written.bytes,
    })
    const restored = new SimulatedStore()
    await restoreSnapshot({ disk: after, path: written.path, store: restored })
    expect(new Manifest(restored).load()).toEqual(contents)
  })

  it('are one state of the store while flushes go on, and yield to the loop', async () => {
    const store = await LmdbStore.open({ disk: nodeDisk, directory: join(scratch, 'busy') })
    const before = at(someContents({ topics: 2, partitions: 500, chunks: 10 }), 42)
    await filled(store, before)
    const manifest = new Manifest(store)
    manifest.load()
    let flushes = 0
    let isDone = false
    const flushing = (async () => {
      while (!isDone) {
        flushes++
        const shard = { ...(before.shard as ShardRow), applied: { sequence: 42 + flushes, headerCrc: 1 } }
        const partitions = before.partitions.map((row) => ({ ...row, endOffset: row.endOffset + flushes }))
        await manifest.flush({ shard, put: { partitions } })
      }
    })()
    const written = await writeSnapshot({ disk: nodeDisk, directory: join(scratch, 'snapshots'), store })
    isDone = true
    await flushing
    expect(flushes).toBeGreaterThan(2)
    const restored = new SimulatedStore()
    await restoreSnapshot({ disk: nodeDisk, path: written.path, store: restored })
    const contents = new Manifest(restored).load()
    expect(contents.shard?.applied.sequence).toBe(written.applied.sequence)
    const flush = written.applied.sequence - 42
    expect(contents.partitions).toEqual(
      before.partitions.map((row) => ({ ...row, endOffset: row.endOffset + flush })),
    )
    await store.close()
  })

  it('report every byte that is changed, one at a time, and every length they are cut to', async () => {
    const source = new SimulatedDisk()
    const { path } = await writeSnapshot({
      disk: source,
      directory,
      store: await filled(new SimulatedStore(), small),
    })
    const content = await source.readFile(path)
    const random = new SeededRandom(3)
    const unnoticed: string[] = []
    const check = async (bytes: Uint8Array, what: string): Promise<void> => {
      const disk = new SimulatedDisk()
      await disk.makeDirectory(directory)
      await (await disk.open(path, 'create')).write([bytes], 0)
      const fault = await verifySnapshot(disk, path).catch((error: unknown) => error)
      if (!(fault instanceof SnapshotCorruption)) unnoticed.push(what)
    }
    for (let i = 0; i < content.length; i++) {
      const changed = new Uint8Array(content)
      changed[i] = (changed[i] as number) ^ (1 + random.below(255))
      await check(changed, `byte ${i}`)
      await check(content.subarray(0, i), `length ${i}`)
    }
    await check(Buffer.concat([content, content.subarray(-64)]), 'a footer twice')
    expect(unnoticed).toEqual([])
  })

  it('are the newest two, and leftovers of unfinished ones go', async () => {
    const disk = new SimulatedDisk()
    await disk.makeDirectory(directory)
    await disk.open(`${directory}/0000000000000001.snapshot.tmp`, 'create')
    for (const sequence of [5, 9, 100, 1_000]) {
      await writeSnapshot({ disk, directory, store: await filled(new SimulatedStore(), at(small, sequence)) })
    }
    expect((await listSnapshots(disk, directory)).map(({ sequence }) => sequence)).toEqual([1_000, 100])
    expect((await disk.list(directory)).length).toBe(2)
    expect((await disk.crash({ keep: 0 }).list(directory)).length).toBe(2)
  })

  it('never stand under their name before they are on disk', async () => {
    const operations: string[] = []
    const disk = new SimulatedDisk({
      onOperation: ({ phase, operation }) => phase === 'end' && operations.push(operation),
    })
    const store = await filled(new SimulatedStore(), small)
    const failpoints = new ArmedFailpoints()
    failpoints.arm('snapshotBeforeRename', () => {
      throw new Error('stopped')
    })
    await expect(writeSnapshot({ disk, directory, store, failpoints })).rejects.toThrow('stopped')
    expect(operations.lastIndexOf('sync')).toBeGreaterThan(operations.lastIndexOf('write'))
    expect(operations).not.toContain('rename')
    const crashed = disk.crash({ keep: 1 })
    expect(await listSnapshots(crashed, directory)).toEqual([])
    await writeSnapshot({ disk: crashed, directory, store })
    expect((await crashed.list(directory)).length).toBe(1)
  })

  it('go into an empty store only, and a damaged one leaves it empty', async () => {
    const disk = new SimulatedDisk()
    const store = await filled(new SimulatedStore(), small)
    const { path } = await writeSnapshot({ disk, directory, store })
    await expect(restoreSnapshot({ disk, path, store })).rejects.toThrow(/empty store only/)
    disk.flipBit(path, 200)
    const empty = new SimulatedStore()
    await expect(restoreSnapshot({ disk, path, store: empty })).rejects.toThrow(SnapshotCorruption)
    expect([...empty.entries()]).toEqual([])
  })

  it('leave a store that does not load when a crash cuts their restore off', async () => {
    const disk = new SimulatedDisk()
    const contents = at(someContents({ topics: 10, partitions: 150, chunks: 10 }), 42)
    const { path } = await writeSnapshot({
      disk,
      directory,
      store: await filled(new SimulatedStore(), contents),
    })
    const target = new SimulatedStore()
    let commits = 0
    const commit = target.commit.bind(target)
    target.commit = async (changes) => {
      if (commits++ === 1) throw new Error('cut off')
      await commit(changes)
    }
    await expect(restoreSnapshot({ disk, path, store: target })).rejects.toThrow('cut off')
    expect(() => new Manifest(target).load()).toThrow(/the row of the shard is missing/)
  })
})
