import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { repairDirectory } from '../../../broker/offline/repair.js'
import { verifyDirectory } from '../../../broker/offline/verify.js'
import { systemClock } from '../../../broker/platform/clock.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { systemRandom } from '../../../broker/platform/random.js'
import { OPCODE } from '../../../broker/shard/commands.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { ShardStreams } from '../../../broker/shard/shard-streams.js'
import type { TopicId } from '../../../protocol/ids.js'
import { flip, flipManifestValue, groupsOf } from '../../support/damage.js'
import {
  type SmallDataDirectory,
  smallDataDirectory,
  TINY_LIMITS,
} from '../../support/small-data-directory.js'
import { openTestShard, someRequestId, textBatch } from '../../support/test-shard.js'

let made: SmallDataDirectory
let directory: string

beforeAll(async () => {
  made = await smallDataDirectory({ stop: 'killed', noSnapshots: true, rounds: 2, more: useStreams })
  return () => made.remove()
})

afterEach(() => rm(directory, { recursive: true, force: true }))

const streamsOf = (shard: Shard): ShardStreams =>
  shard.topics.openStreams({ clock: systemClock, time: () => shard.time(), warn: () => {} })

/** A source that is deleted but forked, and its closed fork with a producer. */
async function useStreams(shard: Shard): Promise<void> {
  const streams = streamsOf(shard)
  const create = async (name: string, sourceName?: string): Promise<TopicId> => {
    const { stream } = await streams.create({
      requestId: someRequestId(),
      name,
      contentType: 'application/json',
      ttlSeconds: null,
      expiresAt: null,
      closed: false,
      fork: sourceName === undefined ? null : { sourceName, offset: 2, subOffset: 0 },
      hasRecords: false,
      open: () => Promise.reject(new Error('it begins empty')),
      resolve: () => Promise.reject(new Error('it ends between records')),
    })
    return stream.topicId
  }
  const source = await create('source')
  await write(shard, source, { values: ['1', '2', '3'], seq: 0 })
  const fork = await create('fork', 'source')
  await write(shard, fork, { values: ['4'], seq: 0 })
  await write(shard, fork, { values: ['5'], seq: 1, closes: true })
  await streams.delete({ topicId: source, requestId: someRequestId() })
}

function write(
  shard: Shard,
  topicId: TopicId,
  { values, seq, closes = false }: { values: string[]; seq: number; closes?: boolean },
): Promise<unknown> {
  const source = shard.openSource({ onPressure() {} })
  const producer = { producerId: 'p', epoch: 1, seq }
  const stream = { topicId, closes, opens: false, producer, seq: null }
  const unit = { requestId: someRequestId(), writes: [textBatch(values, { topicId })], acks: [], stream }
  return new Promise((resolve, reject) =>
    source.appendUnit(unit, (error, result) => (error === null ? resolve(result?.stream) : reject(error))),
  )
}

async function copied({ manifest }: { manifest: boolean }): Promise<void> {
  directory = await mkdtemp(join(tmpdir(), 'millrace-repair-streams-'))
  await cp(made.directory, directory, { recursive: true })
  if (!manifest) await rm(join(directory, 'manifest'), { recursive: true })
}

async function repaired(): Promise<void> {
  const options = { disk: nodeDisk, directory, random: systemRandom, confirm: () => true }
  const { report } = await repairDirectory(options)
  expect(report.faults).toEqual([])
  expect((await verifyDirectory({ disk: nodeDisk, directory })).faults).toEqual([])
}

/** Starts a broker on what there is now. */
async function opened(look: (shard: Shard, streams: ShardStreams) => void | Promise<void>): Promise<void> {
  const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
  const shard = await openTestShard({ directory, disk: nodeDisk, store, limits: TINY_LIMITS })
  try {
    await look(shard, streamsOf(shard))
  } finally {
    await shard.close()
    await store.close()
  }
}

async function expectAll(shard: Shard, streams: ShardStreams): Promise<void> {
  const source = streams.named('source')
  const fork = streams.named('fork')
  expect(source).toMatchObject({ isDeleted: true, endOffset: 3 })
  expect(fork).toMatchObject({ isClosed: true, isFork: true, endOffset: 4, contentType: 'application/json' })
  const topicId = fork?.topicId as TopicId
  expect(streams.segments(topicId)).toEqual([
    { topicId: source?.topicId, from: 0, to: 2, endBytes: 0 },
    { topicId, from: 2, to: Number.POSITIVE_INFINITY, endBytes: 0 },
  ])
  const again = await write(shard, topicId, { values: ['5'], seq: 1, closes: true })
  expect(again).toMatchObject({ isDuplicate: true, isClosed: true, producer: { epoch: 1, seq: 1 } })
  await expect(write(shard, topicId, { values: ['6'], seq: 2 })).rejects.toMatchObject({
    code: 'STREAM_CLOSED',
  })
}

describe('a directory with streams', () => {
  test('verifies, and starts with everything that was acknowledged', async () => {
    await copied({ manifest: true })
    expect((await verifyDirectory({ disk: nodeDisk, directory })).faults).toEqual([])
    await opened(expectAll)
  })

  test('whose manifest is gone is made again of the WAL', async () => {
    await copied({ manifest: false })
    await opened(expectAll)
  })

  test.each([15, 16])('gets rows of keyspace %i back from the WAL', async (keyspace) => {
    await copied({ manifest: true })
    await flipManifestValue(directory, keyspace)
    expect((await verifyDirectory({ disk: nodeDisk, directory })).status).toBe('corrupt')
    await repaired()
    await opened(expectAll)
  })

  test('that has lost a source has its fork begin where it left it', async () => {
    await copied({ manifest: false })
    const groups = await groupsOf(directory)
    const group = groups.find(({ rows }) => rows.some(({ opcode }) => opcode === OPCODE.streamCreated))
    const created = group?.rows.find(({ opcode }) => opcode === OPCODE.topicCreated)
    if (group === undefined || created === undefined) throw new Error('no stream was created')
    await flip(group.file, group.position + created.byteStart + 3)
    await repaired()
    await opened((shard, streams) => {
      expect(streams.named('source')).toBeUndefined()
      const fork = streams.named('fork')
      expect(fork).toMatchObject({ isClosed: true, isFork: false, endOffset: 4 })
      expect(shard.bounds(fork?.topicId as TopicId, 0)).toEqual({ startOffset: 2, durableEnd: 4 })
    })
  })
})
