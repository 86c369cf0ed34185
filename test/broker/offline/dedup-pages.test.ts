import { mkdtemp, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { describePlan } from '../../../broker/cli/repair.js'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { PAGE_BYTES } from '../../../broker/manifest/page-file.js'
import { repairDirectory } from '../../../broker/offline/repair.js'
import { verifyDirectory } from '../../../broker/offline/verify.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { systemRandom } from '../../../broker/platform/random.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { idBatch } from '../../support/checked-writes.js'
import { flip } from '../../support/damage.js'
import { append, createTopic, openTestShard } from '../../support/test-shard.js'

const PAGES = 3
const IDS = PAGES * 1_024 + 100

let directory: string
let file: string
let topicId: TopicId

const ids = (from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${from + i}=x`)

async function withShard<T>(use: (shard: Shard) => Promise<T>): Promise<T> {
  const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
  try {
    const shard = await openTestShard({ directory, disk: nodeDisk, store })
    try {
      return await use(shard)
    } finally {
      await shard.close()
    }
  } finally {
    await store.close()
  }
}

const duplicatesOf = async (from: number, count: number): Promise<number> =>
  await withShard(async (shard) => {
    const { duplicates } = await append(shard, idBatch(ids(from, count), { topicId }))
    return duplicates?.length ?? 0
  })

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-pages-'))
  file = join(directory, 'dedup-pages')
  await withShard(async (shard) => {
    topicId = await createTopic(shard, 'orders')
    await append(shard, idBatch(ids(0, IDS), { topicId }))
  })
})

afterEach(() => rm(directory, { recursive: true, force: true }))

const verify = async () => (await verifyDirectory({ disk: nodeDisk, directory })).faults

describe('the page file of dedup ids', () => {
  test('holds the whole pages after a stop, verifies, and every id is known again', async () => {
    expect((await stat(file)).size).toBe(PAGES * PAGE_BYTES)
    expect(await verify()).toEqual([])
    expect(await duplicatesOf(0, IDS)).toBe(IDS)
  })

  test('with a changed byte, or cut short, is named by verify and by the start that it stops', async () => {
    await flip(file, PAGE_BYTES + 77)
    const [fault] = await verify()
    expect(fault).toMatchObject({
      file,
      byteOffset: PAGE_BYTES,
      reason: expect.stringContaining('CRC of page 1'),
    })
    await expect(duplicatesOf(0, 1)).rejects.toMatchObject({ code: 'CORRUPT_DATA', details: { file } })
    await flip(file, PAGE_BYTES + 77)
    expect(await verify()).toEqual([])
    await truncate(file, 2 * PAGE_BYTES + 1)
    expect((await verify())[0]).toMatchObject({ file, reason: expect.stringContaining('ends before page 2') })
    await rm(file)
    await expect(duplicatesOf(0, 1)).rejects.toMatchObject({ code: 'CORRUPT_DATA', details: { file } })
  })

  test('that is damaged is repaired without its ids, which is said, and everything else stays', async () => {
    await flip(file, 5)
    const { outcome, plan, report } = await repairDirectory({
      ...{ disk: nodeDisk, directory, random: systemRandom },
      confirm: () => true,
    })
    expect([outcome, report.faults]).toEqual(['repaired', []])
    expect(plan).toMatchObject({ lostRecords: [], lostGroups: [], lostDedupIds: [{ topicId, ids: IDS }] })
    expect(plan && describePlan(plan)).toContain(`lost: ${IDS.toLocaleString('en-US')} dedup ids of topic`)
    expect(await duplicatesOf(0, IDS)).toBe(0)
    expect(await duplicatesOf(0, IDS)).toBe(IDS)
    expect(await verify()).toEqual([])
  })
})
