import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { type Store, type StoreEntry, StoreFailed, type StoreReader } from '../../../broker/manifest/store.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { SimulatedStore } from '../../support/simulated-store.js'

const scratch = mkdtempSync(join(tmpdir(), 'millrace-store-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
let directories = 0

const stores: [name: string, open: () => Promise<Store>][] = [
  ['LmdbStore', () => LmdbStore.open({ disk: nodeDisk, directory: join(scratch, `${directories++}`) })],
  ['SimulatedStore', async () => new SimulatedStore()],
]

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const row = (key: number, value: number): StoreEntry => [bytes(key, 0), bytes(value)]
const put = (...puts: StoreEntry[]): { puts: StoreEntry[]; deletes: Uint8Array[] } => ({ puts, deletes: [] })
const valueAt = (store: StoreReader, key: number): number | undefined => store.get(bytes(key, 0))?.[0]
const content = (entries: Iterable<StoreEntry>): [number, number][] =>
  [...entries].map(([key, value]) => [key[0] as number, value[0] as number])

describe.each(stores)('%s', (_name, open) => {
  it('reads back what was committed, in the order of the keys', async () => {
    const store = await open()
    await store.commit(put(row(200, 1), row(3, 2), row(0, 3)))
    expect(content(store.entries())).toEqual([
      [0, 3],
      [3, 2],
      [200, 1],
    ])
    expect(valueAt(store, 3)).toBe(2)
    expect(valueAt(store, 4)).toBeUndefined()
    await store.close()
  })

  it('reads a range from its start up to its end', async () => {
    const store = await open()
    await store.commit(put(row(1, 1), row(2, 2), row(3, 3), row(4, 4)))
    expect(content(store.entries({ start: bytes(2), end: bytes(4) }))).toEqual([
      [2, 2],
      [3, 3],
    ])
    expect(content(store.entries({ start: bytes(4, 0) }))).toEqual([[4, 4]])
    expect(content(store.entries({ end: bytes(1, 0) }))).toEqual([])
    await store.close()
  })

  it('applies deletes before puts, and a delete of what is not there is no error', async () => {
    const store = await open()
    await store.commit(put(row(1, 1), row(2, 2)))
    await store.commit({ deletes: [bytes(1, 0), bytes(2, 0), bytes(9)], puts: [row(2, 7)] })
    expect(content(store.entries())).toEqual([[2, 7]])
    await store.commit({ deletes: [], puts: [] })
    expect(content(store.entries())).toEqual([[2, 7]])
    await store.close()
  })

  it('shows nothing of a commit before it resolved', async () => {
    const store = await open()
    await store.commit(put(row(1, 1)))
    const committing = store.commit(put(row(1, 2), row(2, 2)))
    expect(content(store.entries())).toEqual([[1, 1]])
    expect(valueAt(store, 1)).toBe(1)
    await committing
    expect(valueAt(store, 1)).toBe(2)
    await store.close()
  })

  it('takes one commit at a time', async () => {
    const store = await open()
    const first = store.commit(put(row(1, 1)))
    await expect(store.commit(put(row(2, 2)))).rejects.toThrow('one commit at a time')
    await first
    await store.commit(put(row(3, 3)))
    expect(content(store.entries())).toEqual([
      [1, 1],
      [3, 3],
    ])
    await store.close()
  })

  it('keeps a view as it was, through commits and over turns of the loop', async () => {
    const store = await open()
    await store.commit(put(...Array.from({ length: 200 }, (_, i) => row(i, 1))))
    const view = store.view()
    const seen: [number, number][] = []
    for (const [key, value] of view.entries()) {
      seen.push([key[0] as number, value[0] as number])
      if (seen.length % 20 !== 0) continue
      const changed = Array.from({ length: 200 }, (_, i) => row(i, seen.length))
      await store.commit({ deletes: [bytes(199, 0)], puts: changed.slice(0, 199) })
      expect(valueAt(view, 199)).toBe(1)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(seen).toEqual(Array.from({ length: 200 }, (_, i) => [i, 1]))
    expect(content(view.entries())).toEqual(seen)
    view.close()
    view.close()
    const fresh = store.view()
    expect(content(fresh.entries())[0]).toEqual([0, 200])
    expect(valueAt(fresh, 199)).toBeUndefined()
    fresh.close()
    await store.close()
  })

  it('gives values that no later read changes', async () => {
    const store = await open()
    await store.commit(
      put([bytes(1), new Uint8Array(40_000).fill(1)], [bytes(2), new Uint8Array(40_000).fill(2)], row(3, 3)),
    )
    const kept = [...store.entries()]
    const got = store.get(bytes(1))
    await store.commit(
      put([bytes(1), new Uint8Array(40_000).fill(9)], [bytes(2), new Uint8Array(40_000).fill(9)]),
    )
    for (const _ of store.entries());
    store.get(bytes(2))
    expect(kept.map(([, value]) => value[value.length - 1])).toEqual([1, 2, 3])
    expect(got?.every((byte) => byte === 1)).toBe(true)
    await store.close()
  })

  it('waits at close for the commit under way, ends open views and refuses what comes later', async () => {
    const store = await open()
    await store.commit(put(row(1, 1), row(2, 2)))
    const view = store.view()
    const entries = view.entries()[Symbol.iterator]()
    entries.next()
    const committing = store.commit(put(row(3, 3)))
    await Promise.all([store.close(), store.close()])
    await committing
    expect(() => entries.next()).toThrow(StoreFailed)
    expect(() => store.get(bytes(1))).toThrow(StoreFailed)
    await expect(store.commit(put(row(4, 4)))).rejects.toThrow(StoreFailed)
  })
})
