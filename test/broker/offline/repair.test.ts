import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { readJournal } from '../../../broker/offline/moves.js'
import { type RepairResult, repairDirectory } from '../../../broker/offline/repair.js'
import type { LostRecords } from '../../../broker/offline/repair-plan.js'
import { verifyDirectory } from '../../../broker/offline/verify.js'
import type { Disk } from '../../../broker/platform/disk.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { systemRandom } from '../../../broker/platform/random.js'
import { layoutOf } from '../../../broker/shard/layout.js'
import type { TopicId } from '../../../protocol/ids.js'
import { filesIn, flip, flipManifestValue, type GroupPlace, groupsOf } from '../../support/damage.js'
import {
  type Contents,
  openAndRead,
  smallDataDirectory,
  TINY_LIMITS,
} from '../../support/small-data-directory.js'
import { append, createTopic, openTestShard, readAll, textBatch } from '../../support/test-shard.js'

interface Made {
  readonly directory: string
  readonly contents: Contents
}

let clean: Made
let killed: Made
let directory: string

beforeAll(async () => {
  clean = await smallDataDirectory({ stop: 'clean' })
  killed = await smallDataDirectory({ stop: 'killed' })
  return async () => {
    for (const { directory } of [clean, killed]) await rm(directory, { recursive: true })
  }
})

afterEach(() => rm(directory, { recursive: true, force: true }))

/** A copy to be damaged. */
async function copyOf(made: Made): Promise<Contents> {
  directory = await mkdtemp(join(tmpdir(), 'millrace-repair-'))
  await cp(made.directory, directory, { recursive: true })
  return made.contents
}

const repair = (options: { disk?: Disk; confirm?: () => boolean } = {}): Promise<RepairResult> =>
  repairDirectory({ disk: nodeDisk, directory, random: systemRandom, confirm: () => true, ...options })

/** The contents without some offsets. */
function without(contents: Contents, lost: readonly LostRecords[]): Contents {
  const records = Object.fromEntries(
    Object.entries(contents.records).map(([name, all]) => {
      const ranges = lost.filter(({ topic, partition }) => `${topic}/${partition}` === name)
      return [name, all.filter(({ offset }) => !ranges.some(({ from, to }) => offset >= from && offset < to))]
    }),
  )
  return { ...contents, records }
}

/** Repairs, and expects a clean directory that holds everything but what the plan calls lost. */
async function repaired(contents: Contents): Promise<RepairResult & { lost: string[] }> {
  const result = await repair()
  expect(result.outcome).toBe('repaired')
  expect(result.report.faults).toEqual([])
  const lostRecords = result.plan?.lostRecords ?? []
  expect(await openAndRead(directory)).toEqual(without(contents, lostRecords))
  // What a broker did with it afterwards stands as well.
  expect((await verifyDirectory({ disk: nodeDisk, directory })).faults).toEqual([])
  expect((await repair()).outcome).toBe('notNeeded')
  expect(await readdir(directory)).not.toContain('repair')
  const lost = lostRecords.map(({ topic, partition, from, to }) => `${topic}/${partition} ${from}-${to}`)
  return { ...result, lost }
}

/** The last group that appends to a topic. */
async function groupOf(made: Made, topic: string, index = -1): Promise<GroupPlace> {
  const { topicId } = made.contents.topics.find(({ name }) => name === topic) as { topicId: TopicId }
  const groups = await groupsOf(directory)
  return groups.filter(({ rows }) => rows.some((row) => row.topicId === topicId)).at(index) as GroupPlace
}

describe('repairDirectory', () => {
  test('leaves an undamaged directory alone', async () => {
    await copyOf(clean)
    expect(await repair()).toMatchObject({ outcome: 'notNeeded', plan: undefined })
    expect((await readdir(directory)).some((name) => name.includes('broken'))).toBe(false)
  })

  test('changes nothing unless it is told to', async () => {
    await copyOf(clean)
    const [chunk] = await filesIn(directory, 'chunks')
    await flip(chunk as string, 300)
    const before = await readdir(directory, { recursive: true })
    const { outcome, plan } = await repair({ confirm: () => false })
    expect(outcome).toBe('refused')
    expect(plan?.rebuild?.badChunks.size).toBe(1)
    expect((await readdir(directory, { recursive: true })).sort()).toEqual([...before, 'LOCK'].sort())
  })

  describe('a damaged manifest', () => {
    test('is rebuilt from the newest snapshot and the WAL, and nothing is lost', async () => {
      const contents = await copyOf(killed)
      await flipManifestValue(directory, 3)
      const { plan, broken } = await repaired(contents)
      const newest = (await filesIn(killed.directory, 'snapshots')).at(-1) as string
      expect(plan?.rebuild?.source).toEqual({ snapshot: newest.replace(killed.directory, directory) })
      expect(plan).toMatchObject({ lostRecords: [], lostGroups: [], rebuild: { keepsWal: true } })
      expect(broken).toContain('manifest.1.broken')
      expect(await readdir(join(directory, 'manifest.1.broken'))).toContain('data.mdb')
    })

    test('that is missing is no damage while the WAL begins with group 1: a start makes it again', async () => {
      const contents = await copyOf(clean)
      await rm(join(directory, 'manifest'), { recursive: true })
      expect((await repair()).outcome).toBe('notNeeded')
      expect(await openAndRead(directory)).toEqual(contents)
    })

    test('costs what stood in WAL segments that are gone as well, and in no chunk', async () => {
      const contents = await copyOf(clean)
      await rm(join(directory, 'manifest'), { recursive: true })
      const audit = await groupOf(clean, 'audit', 0)
      await rm(audit.file)
      const { lost } = await repaired(contents)
      expect(lost).toEqual(['audit/0 0-1'])
    })

    test('is rebuilt from an older snapshot when the newest is damaged too', async () => {
      const contents = await copyOf(killed)
      await flipManifestValue(directory, 2)
      const [older, newest] = await filesIn(directory, 'snapshots')
      await flip(newest as string, 300)
      const { plan } = await repaired(contents)
      expect(plan?.rebuild?.source).toEqual({ snapshot: older })
    })

    test('is rebuilt from the WAL alone when no snapshot is left and the WAL begins with group 1', async () => {
      const contents = await copyOf(killed)
      await flipManifestValue(directory, 4)
      for (const path of await filesIn(directory, 'snapshots')) await rm(path)
      const { plan } = await repaired(contents)
      expect(plan).toMatchObject({ rebuild: { source: 'empty', keepsWal: true }, lostRecords: [] })
    })

    test('is beyond repair when nothing says which topics there were', async () => {
      await copyOf(killed)
      await flipManifestValue(directory, 4)
      for (const path of await filesIn(directory, 'snapshots')) await rm(path)
      await rm((await filesIn(directory, 'wal'))[0] as string)
      const before = await readdir(directory)
      await expect(repair()).rejects.toMatchObject({ name: 'BeyondRepairError' })
      expect((await readdir(directory)).filter((name) => name !== 'LOCK')).toEqual(
        before.filter((name) => name !== 'LOCK'),
      )
    })

    test('that is no database at all is rebuilt', async () => {
      const contents = await copyOf(clean)
      await writeFile(join(directory, 'manifest/data.mdb'), Buffer.alloc(32768, 7))
      const { plan } = await repaired(contents)
      expect(plan?.lostRecords).toEqual([])
    })
  })

  describe('a damaged WAL', () => {
    test('loses the records of the damaged entry and no others', async () => {
      const contents = await copyOf(killed)
      const group = await groupOf(killed, 'audit')
      const [row] = group.rows
      await flip(group.file, group.position + (row?.byteStart ?? 0) + 115)
      const { plan, lost, broken } = await repaired(contents)
      expect(lost).toEqual(['audit/0 2-3'])
      expect(plan?.rebuild?.keepsWal).toBe(false)
      expect(broken).toContain('wal.1.broken')
      expect(await readdir(join(directory, 'wal.1.broken'))).toHaveLength(
        (await readdir(join(killed.directory, 'wal'))).length,
      )
    })

    test('loses nothing where the damaged group holds only what is in chunks', async () => {
      const contents = await copyOf(killed)
      const group = await groupOf(killed, 'orders', 0)
      await flip(group.file, group.position + 140)
      const { lost } = await repaired(contents)
      expect(lost).toEqual([])
    })

    test('finds the entries of a group whose header is damaged', async () => {
      const contents = await copyOf(killed)
      const group = await groupOf(killed, 'audit')
      await flip(group.file, group.position + 50)
      const { lost, plan } = await repaired(contents)
      expect(lost).toEqual([])
      expect(plan?.faults.map(({ file }) => file)).toEqual([group.file])
    })

    test('loses nothing of a segment whose header is damaged but for its salt', async () => {
      const contents = await copyOf(killed)
      await flip((await filesIn(directory, 'wal'))[2] as string, 60)
      const { lost } = await repaired(contents)
      expect(lost).toEqual([])
    })

    test('keeps offsets in their places when whole segments are gone', async () => {
      const contents = await copyOf(killed)
      const audit = await groupOf(killed, 'audit', 1)
      await rm(audit.file)
      const { lost } = await repaired(contents)
      expect(lost.some((each) => each.startsWith('audit/0 1-2'))).toBe(true)
      const read = await openAndRead(directory)
      expect(read.records['audit/0']?.map(({ offset }) => offset)).toEqual([0, 2])
    })

    test('gives no lost offset away again, and goes on behind it', async () => {
      const contents = await copyOf(killed)
      const files = await filesIn(directory, 'wal')
      for (const path of files.slice(-2)) await rm(path)
      const { lost } = await repaired(contents)
      expect(lost.length).toBeGreaterThan(0)
      const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
      const shard = await openTestShard({ directory, disk: nodeDisk, store, limits: TINY_LIMITS })
      for (const { name, topicId, partitions } of contents.topics) {
        for (let partition = 0; partition < partitions; partition++) {
          const { baseOffset } = await append(shard, textBatch(['next'], { topicId, partition }))
          expect(baseOffset).toBe(contents.records[`${name}/${partition}`]?.length)
          const { records } = await readAll(shard, topicId, { partition })
          expect(records.at(-1)).toEqual({ offset: baseOffset, value: 'next' })
        }
      }
      await createTopic(shard, 'later')
      await shard.close()
      await store.close()
      expect((await verifyDirectory({ disk: nodeDisk, directory })).status).toBe('clean')
    })

    test('that a rebuilt manifest needs costs what stood in the damaged group alone', async () => {
      const contents = await copyOf(killed)
      await rm(join(directory, 'manifest'), { recursive: true })
      for (const path of await filesIn(directory, 'snapshots')) await rm(path)
      const group = await groupOf(killed, 'audit')
      const [row] = group.rows
      await flip(group.file, group.position + (row?.byteStart ?? 0) + 115)
      const { plan, lost } = await repaired(contents)
      expect(lost).toEqual(['audit/0 2-3'])
      expect(plan?.lostGroups).toMatchObject([{ first: group.header.sequence, last: group.header.sequence }])
    })

    test('says which topic is lost with the group that created it', async () => {
      await copyOf(killed)
      await rm(join(directory, 'manifest'), { recursive: true })
      for (const path of await filesIn(directory, 'snapshots')) await rm(path)
      const audit = killed.contents.topics.find(({ name }) => name === 'audit')
      const creation = (await groupsOf(directory)).filter(({ rows }) =>
        rows.some(({ opcode }) => opcode === 3),
      )[2] as GroupPlace
      await flip(creation.file, creation.position + (creation.rows[0]?.byteStart ?? 0) + 4)
      const { plan, report } = await repair()
      expect(report.status).toBe('clean')
      expect([...(plan?.orphans ?? [])]).toEqual([[audit?.topicId, 3]])
      const { topics, records } = await openAndRead(directory)
      expect(topics.map(({ name }) => name)).toEqual(['clicks', 'orders'])
      expect(records['orders/0']).toEqual(killed.contents.records['orders/0'])
    })

    test('of old is set aside where only a rebuild of the manifest would have read it', async () => {
      const made = await smallDataDirectory({
        stop: 'killed',
        allSealed: true,
        limits: { chunkBytes: 1500 },
        noSnapshots: true,
      })
      const contents = await copyOf(made)
      await made.remove()
      const [oldest] = await groupsOf(directory)
      await flip(oldest?.file ?? '', (oldest?.position ?? 0) + 140)
      const { plan, lost, broken } = await repaired(contents)
      expect(plan?.rebuild?.keepsWal).toBe(true)
      expect(broken).toContain(`wal.1.broken/${oldest?.file.split('/').at(-1)}`)
      expect(lost).toEqual([])
    })

    test('that has lost its end after a clean stop says so', async () => {
      const contents = await copyOf(clean)
      const { file } = await groupOf(clean, 'audit')
      for (const path of await filesIn(directory, 'wal')) if (path >= file) await rm(path)
      const { lost } = await repaired(contents)
      expect(lost).toContain('audit/0 2-3')
      expect(await readdir(directory)).toContain('clean-stop.json.1.broken')
    })
  })

  describe('a damaged chunk', () => {
    test('gives back everything while the WAL still has it', async () => {
      const contents = await copyOf(clean)
      const [chunk] = await filesIn(directory, 'chunks')
      await flip(chunk as string, 300)
      const { lost, broken } = await repaired(contents)
      expect(lost).toEqual([])
      expect(broken).toContain(`chunks.1.broken/${(chunk as string).split('/').at(-1)}`)
    })

    /** Without the groups whose records are all in chunks. */
    async function forgetWal(): Promise<void> {
      await rm(join(directory, 'wal'), { recursive: true })
      await repair()
    }

    test('loses the one damaged entry, and readers pass over it', async () => {
      const contents = await copyOf(clean)
      await forgetWal()
      const known = await openAndRead(directory)
      const [chunk] = await filesIn(directory, 'chunks')
      await flip(chunk as string, 64 + 112 + 600)
      const result = await repair()
      expect(result.report.faults).toEqual([])
      const [lost] = result.plan?.lostRecords ?? []
      expect(result.plan?.lostRecords).toHaveLength(1)
      expect((lost?.to ?? 0) - (lost?.from ?? 0)).toBe(3)
      const read = await openAndRead(directory)
      expect(read).toEqual(without(known, result.plan?.lostRecords ?? []))
      expect(contents.topics).toEqual(read.topics)
    })

    test.each([
      ['first', 0],
      ['last', -1],
    ])('that is missing, the %s of its partition, leaves a range without records', async (_, index) => {
      await copyOf(clean)
      await forgetWal()
      const known = await openAndRead(directory)
      const chunks = await filesIn(directory, 'chunks')
      await rm(chunks.at(index) as string)
      const { plan, report } = await repair()
      expect(report.faults).toEqual([])
      expect(plan?.lostRecords.length).toBeGreaterThan(0)
      expect(await openAndRead(directory)).toEqual(without(known, plan?.lostRecords ?? []))
      const [lost] = plan?.lostRecords ?? []
      // A reader that stands in the range is led out of it.
      const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
      const shard = await openTestShard({ directory, disk: nodeDisk, store, limits: TINY_LIMITS })
      const at = { topicId: lost?.topicId as TopicId, partition: lost?.partition as number }
      const read = await shard.read({ ...at, offset: (lost?.from as number) + 1, maxBytes: 1 })
      expect(read.nextOffset).toBeGreaterThanOrEqual(lost?.to as number)
      await shard.close()
      await store.close()
    })

    test('whose footer is damaged loses nothing', async () => {
      await copyOf(clean)
      await forgetWal()
      const known = await openAndRead(directory)
      const [chunk] = await filesIn(directory, 'chunks')
      await flip(chunk as string, (await readFile(chunk as string)).length - 10)
      const { plan, report } = await repair()
      expect(report.status).toBe('clean')
      expect(plan?.lostRecords).toEqual([])
      expect(await openAndRead(directory)).toEqual(known)
    })
  })

  describe('small files', () => {
    test('a damaged clean-stop marker is taken away', async () => {
      const contents = await copyOf(clean)
      await writeFile(join(directory, 'clean-stop.json'), '{"sequence":')
      const { plan, broken } = await repaired(contents)
      expect(plan).toMatchObject({ rebuild: undefined, isMarkerBad: true })
      expect(broken).toContain('clean-stop.json.1.broken')
    })

    test.each(['damaged', 'missing'])(
      'a %s identity is restored from the WAL and the manifest',
      async (how) => {
        const contents = await copyOf(clean)
        const path = join(directory, 'identity.json')
        const before = await readFile(path, 'utf8')
        if (how === 'damaged') await writeFile(path, before.slice(0, 40))
        else await rm(path)
        const { plan, broken } = await repaired(contents)
        expect(plan?.rebuild).toBeUndefined()
        expect(await readFile(path, 'utf8')).toBe(before)
        expect(broken).toEqual(how === 'damaged' ? ['identity.json.1.broken'] : [])
      },
    )

    test('what a newer release wrote is left alone', async () => {
      await copyOf(clean)
      const path = join(directory, 'identity.json')
      const before = (await readFile(path, 'utf8')).replace('"format":1', '"format":2')
      await writeFile(path, before)
      await expect(repair()).rejects.toMatchObject({
        name: 'BeyondRepairError',
        message: expect.stringMatching(/format 2, this release knows 1/),
      })
      expect(await readFile(path, 'utf8')).toBe(before)
    })

    test('a damaged snapshot is set aside, and the manifest stays', async () => {
      const contents = await copyOf(clean)
      const [snapshot] = await filesIn(directory, 'snapshots')
      await flip(snapshot as string, 80)
      const { plan } = await repaired(contents)
      expect(plan?.rebuild).toBeUndefined()
      expect(await filesIn(directory, 'snapshots')).not.toContain(snapshot)
    })
  })

  test('repairs everything at once', async () => {
    const contents = await copyOf(killed)
    const [first, second] = await filesIn(directory, 'chunks')
    const group = await groupOf(killed, 'audit')
    await flip(group.file, group.position + (group.rows[0]?.byteStart ?? 0) + 115)
    await flipManifestValue(directory, 3)
    await flip(first as string, 300)
    await rm(second as string)
    await flip((await filesIn(directory, 'snapshots')).at(-1) as string, 70)
    await writeFile(join(directory, 'identity.json'), '{}')
    const { lost } = await repaired(contents)
    expect(lost).toEqual(['audit/0 2-3'])
  })

  test('goes on where an earlier repair was interrupted, at every step', async () => {
    await copyOf(killed)
    const damaged = await mkdtemp(join(tmpdir(), 'millrace-damaged-'))
    const group = await groupOf(killed, 'audit')
    await flip(group.file, group.position + (group.rows[0]?.byteStart ?? 0) + 115)
    await rm((await filesIn(directory, 'chunks'))[0] as string)
    await cp(directory, damaged, { recursive: true })
    let expected: Contents | undefined
    let resumed = 0
    for (let step = 0; ; step++) {
      await rm(directory, { recursive: true })
      await cp(damaged, directory, { recursive: true })
      let renames = 0
      const dying: Disk = {
        ...nodeDisk,
        async rename(from, to) {
          // Those of the exchange, and not those of single files before it.
          if ((await readJournal(nodeDisk, layoutOf(directory))) && renames++ === step)
            throw new Error('killed')
          await nodeDisk.rename(from, to)
        },
      }
      const result = await repair({ disk: dying }).catch((error: Error) => error)
      if (result instanceof Error) {
        expect(result.message).toBe('killed')
        const { faults } = await verifyDirectory({ disk: nodeDisk, directory })
        expect(faults.some(({ reason }) => /interrupted/.test(reason))).toBe(true)
        await expect(openAndRead(directory)).rejects.toMatchObject({ code: 'CORRUPT_DATA' })
        await repairDirectory({
          disk: nodeDisk,
          directory,
          random: systemRandom,
          confirm: () => true,
          confirmResume: () => ++resumed > 0,
        })
      }
      expect((await verifyDirectory({ disk: nodeDisk, directory })).status).toBe('clean')
      expect(await readdir(directory)).not.toContain('repair')
      const read = await openAndRead(directory)
      expected ??= read
      expect(read).toEqual(expected)
      if (!(result instanceof Error)) break
    }
    expect(resumed).toBeGreaterThan(5)
    await rm(damaged, { recursive: true })
  })
})
