import { pack, unpack } from 'msgpackr'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { crc32 } from '#crc32'
import type { ChunkSection } from '../../../broker/chunks/section.js'
import { ManifestCorruption } from '../../../broker/manifest/corruption.js'
import { Manifest } from '../../../broker/manifest/manifest.js'
import { decodeRow, encodeRow } from '../../../broker/manifest/row-codec.js'
import type { ManifestContents, SectionRow } from '../../../broker/manifest/rows.js'
import { FORMAT_KEYSPACE } from '../../../broker/manifest/schema.js'
import type { StoreEntry } from '../../../broker/manifest/store.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedStore } from '../../support/simulated-store.js'
import { countsOf, putAll, shardRow, someContents, topicIdOf } from './rows.js'

const small = { topics: 2, partitions: 2, chunks: 2 }

async function storeOf(contents: ManifestContents): Promise<SimulatedStore> {
  const store = new SimulatedStore()
  const manifest = new Manifest(store)
  manifest.load()
  await manifest.flush(putAll(contents))
  return store
}

function faultOf(store: SimulatedStore): unknown {
  try {
    new Manifest(store).load()
    return undefined
  } catch (error) {
    return error
  }
}

/** A row as format 1 had it: its CRC is over what is left. */
function withoutNewFields(entry: StoreEntry): StoreEntry {
  const { kind } = decodeRow(entry)
  if (kind === 'format') return encodeRow(FORMAT_KEYSPACE, { format: 1 })
  const [key, value] = entry
  const fields = unpack(value.subarray(5)) as unknown[]
  if (kind === 'topics') fields.length = 5
  else if (kind === 'shard') {
    fields.length = 9
    ;(fields[8] as unknown[]).length = 6
  } else return entry
  const body = pack(fields)
  const bytes = Buffer.alloc(5 + body.length)
  bytes[4] = 1
  bytes.set(body, 5)
  bytes.writeUInt32BE(crc32(bytes.subarray(4), crc32(key)), 0)
  return [key, bytes]
}

describe('Manifest', () => {
  it('loads what was flushed, rows of every kind', async () => {
    const contents = someContents(small)
    expect(new Manifest(await storeOf(contents)).load()).toEqual(contents)
  })

  it('loads as empty what was never flushed', () => {
    const { shard, ...rows } = new Manifest(new SimulatedStore()).load()
    expect(shard).toBeUndefined()
    expect(Object.values(rows).every((each) => each.length === 0)).toBe(true)
  })

  it('applies a flush of puts and deletes as one', async () => {
    const contents = someContents(small)
    const store = await storeOf(contents)
    const gone = topicIdOf(1)
    const keeps = <Row>(rows: readonly Row[]): Row[] =>
      rows.filter((row) => (row as { topicId?: string }).topicId !== gone)
    const rest = {
      ...contents,
      topics: keeps(contents.topics),
      partitions: keeps(contents.partitions),
      chunks: keeps(contents.chunks),
      producers: keeps(contents.producers),
      cursors: keeps(contents.cursors),
      queues: keeps(contents.queues),
      dedupBuckets: keeps(contents.dedupBuckets),
      dedupPages: keeps(contents.dedupPages),
    }
    const [partition] = rest.partitions
    if (!partition) throw new Error('a partition')
    rest.partitions[0] = { ...partition, endOffset: partition.endOffset + 1 }
    const given = { nextProducerId: 3, requestOrder: 2, nextGroupId: 5, answerOrder: 2 }
    const after = { ...rest, shard: shardRow(rest, { ...given, shardEpoch: 4 }) }
    const ofGone = (row: { topicId: string }): boolean => row.topicId === gone
    const manifest = new Manifest(store)
    manifest.load()
    await manifest.flush({
      shard: after.shard,
      put: { partitions: [rest.partitions[0]] },
      delete: {
        topics: [{ topicId: gone }],
        partitions: contents.partitions.filter(ofGone),
        chunks: contents.chunks.filter(ofGone),
        producers: contents.producers.filter(ofGone),
        cursors: contents.cursors.filter(ofGone),
        queues: contents.queues.filter(ofGone),
        dedupBuckets: contents.dedupBuckets.filter(ofGone),
        dedupPages: contents.dedupPages.filter(ofGone),
      },
    })
    expect(new Manifest(store).load()).toEqual(after)
  })

  it('moves a chunk reference to another chunk file in one flush', async () => {
    const contents = someContents({ topics: 1, partitions: 1, chunks: 1 })
    const store = await storeOf(contents)
    const [old] = contents.chunks
    if (!old || !contents.shard) throw new Error('a chunk')
    const manifest = new Manifest(store)
    manifest.load()
    await manifest.flush({
      shard: contents.shard,
      delete: { chunks: [old] },
      put: { chunks: [{ ...old, chunkId: 99 }] },
    })
    expect(new Manifest(store).load().chunks.map(({ chunkId }) => chunkId)).toEqual([99])
  })

  it('encodes the changes before flush returns: later changes do not leak in', async () => {
    const contents = someContents(small)
    const store = new SimulatedStore()
    const manifest = new Manifest(store)
    manifest.load()
    const live = structuredClone(contents)
    const flushing = manifest.flush(putAll(live))
    for (const partition of live.partitions) Object.assign(partition, { endOffset: 1 })
    Object.assign(live.shard as object, { time: 0 })
    live.topics.length = 0
    await flushing
    expect(new Manifest(store).load()).toEqual(contents)
  })

  it('keeps the state before or after a flush that a crash cut off, never a mixture', async () => {
    const before = someContents(small)
    const after = someContents({ topics: 3, partitions: 2, chunks: 3 })
    const seen = new Set<number>()
    for (let seed = 0; seed < 20; seed++) {
      const store = (await storeOf(before)).altered((rows) => rows)
      const seeded = new SimulatedStore({
        seed,
        rows: new Map([...store.entries()].map((row) => [Buffer.from(row[0]).toString('hex'), row])),
      })
      const manifest = new Manifest(seeded)
      manifest.load()
      void manifest.flush(putAll(after))
      const contents = new Manifest(seeded.crash()).load()
      expect([before, after]).toContainEqual(contents)
      seen.add(contents.topics.length)
    }
    expect([...seen].sort()).toEqual([2, 3])
  })

  it('reports every byte of a key or a value that is changed, one at a time', async () => {
    const store = await storeOf(someContents({ topics: 1, partitions: 1, chunks: 2 }))
    const random = new SeededRandom(7)
    const unnoticed: string[] = []
    const rows = [...store.entries()]
    for (const [row, [key, value]] of rows.entries()) {
      // All of a short row, and places all over a long one.
      const step = Math.ceil((key.length + value.length) / 500)
      for (let at = 0; at < key.length + value.length; at += step) {
        const changed = store.altered((all) => {
          const bytes = at < key.length ? all[row]?.[0] : all[row]?.[1]
          const index = at < key.length ? at : at - key.length
          if (bytes) bytes[index] = (bytes[index] as number) ^ (1 + random.below(255))
          return all
        })
        if (!(faultOf(changed) instanceof ManifestCorruption)) unnoticed.push(`row ${row} byte ${at}`)
      }
    }
    expect(rows.length).toBe(17)
    expect(unnoticed).toEqual([])
  })

  it('reports every row that is missing, one at a time, and every two values that changed places', async () => {
    const store = await storeOf(someContents(small))
    const rows = [...store.entries()]
    for (let i = 0; i < rows.length; i++) {
      expect(faultOf(store.altered((all) => all.filter((_, index) => index !== i)))).toBeInstanceOf(
        ManifestCorruption,
      )
      const swapped = store.altered((all) => {
        const [one, other] = [all[i], all[(i + 1) % all.length]]
        if (one && other) {
          all[i] = [one[0], other[1]]
          all[(i + 1) % all.length] = [other[0], one[1]]
        }
        return all
      })
      expect(faultOf(swapped)).toBeInstanceOf(ManifestCorruption)
    }
  })

  it('names keyspace and key of a damaged row in one line', async () => {
    const store = (await storeOf(someContents(small))).altered((all) => {
      for (const [key, value] of all) if (key[0] === 4 && key[20] === 1) value[9] = 0xff
      return all
    })
    const fault = faultOf(store)
    expect(fault).toMatchObject({
      code: 'CORRUPT_DATA',
      keyspace: 'partition',
      reason: 'its CRC does not match',
    })
    expect((fault as Error).message).toBe(
      `the manifest is damaged: partition ${topicIdOf(0)}/1: its CRC does not match`,
    )
  })

  it('says that a newer Millrace wrote the manifest, whatever else is in it', async () => {
    const store = (await storeOf(someContents(small))).altered((all) => [
      ...all.slice(1),
      encodeRow(FORMAT_KEYSPACE, { format: 4 }),
      [Uint8Array.from([200, 1]), new Uint8Array(9)],
    ])
    const fault = faultOf(store)
    expect(fault).toBeInstanceOf(MillraceError)
    expect(fault).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    expect((fault as Error).message).toMatch(/newer Millrace: it has format 4, this version reads up to 3/)
  })

  it('reads a manifest of format 1, and makes it one of format 3 with the first flush', async () => {
    const { shard, ...rows } = someContents(small)
    const old = {
      ...rows,
      groups: [],
      cursors: [],
      queues: [],
      dedupBuckets: [],
      dedupPages: [],
      answers: [],
      streams: [],
      streamProducers: [],
    }
    const written = { ...old, shard: shardRow(old, { nextProducerId: 3, requestOrder: 2 }) }
    const store = (await storeOf(written)).altered((all) => all.map(withoutNewFields))
    const manifest = new Manifest(store)
    const topics = old.topics.map((topic) => ({ ...topic, options: DEFAULT_TOPIC_OPTIONS, internal: false }))
    expect(manifest.load()).toEqual({ ...written, topics })
    await manifest.flush({ shard: written.shard })
    const [format] = [...store.entries()]
    expect(format && decodeRow([format[0], format[1]])).toEqual({ kind: 'format', row: { format: 3 } })
    expect(new Manifest(store).load()).toEqual({ ...written, topics })
  })

  it('refuses to write a row that could not be loaded again', async () => {
    const contents = someContents(small)
    const manifest = new Manifest(new SimulatedStore())
    manifest.load()
    const [partition] = contents.partitions
    if (!partition) throw new Error('a partition')
    const broken = { ...contents, partitions: [{ ...partition, endOffset: Number.NaN }] }
    await expect(manifest.flush(putAll(broken))).rejects.toThrow(TypeError)
  })

  it('rejects a flush that the store rejects', async () => {
    const contents = someContents(small)
    const store = new SimulatedStore()
    const manifest = new Manifest(store)
    manifest.load()
    store.failNextCommit(new Error('EIO'))
    await expect(manifest.flush(putAll(contents))).rejects.toThrow(/EIO/)
    await expect(manifest.flush(putAll(contents))).rejects.toThrow(/EIO/)
    expect(new Manifest(store).load().shard).toBeUndefined()
  })

  it('decodes and checks 100,000 chunks of 10,000 partitions', async () => {
    const contents = someContents({ topics: 10, partitions: 1_000, chunks: 10 })
    const store = await storeOf(contents)
    const rows = [...store.entries()]
    const loaded = new Manifest({ ...store, entries: () => rows } as never).load()
    expect(countsOf(loaded)).toEqual(countsOf(contents))
  })

  it('keeps the section of a chunk field by field', () => {
    expectTypeOf<SectionRow>().toEqualTypeOf<ChunkSection>()
  })
})
