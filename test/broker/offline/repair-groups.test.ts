import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../../broker/manifest/lmdb-store.js'
import { type RepairResult, repairDirectory } from '../../../broker/offline/repair.js'
import { verifyDirectory } from '../../../broker/offline/verify.js'
import { nodeDisk } from '../../../broker/platform/node-disk.js'
import { systemRandom } from '../../../broker/platform/random.js'
import { OPCODE } from '../../../broker/shard/commands.js'
import type { Shard } from '../../../broker/shard/shard.js'
import { memberIdFrom, type TopicId } from '../../../protocol/ids.js'
import { filesIn, flip, flipManifestValue, type GroupPlace, groupsOf } from '../../support/damage.js'
import {
  type SmallDataDirectory,
  smallDataDirectory,
  TINY_LIMITS,
} from '../../support/small-data-directory.js'
import {
  append,
  createTopic,
  openTestShard,
  readAll,
  someRequestId,
  textBatch,
} from '../../support/test-shard.js'

const alice = memberIdFrom('a'.repeat(32))

let made: SmallDataDirectory
let directory: string

beforeAll(async () => {
  made = await smallDataDirectory({ stop: 'killed', noSnapshots: true, rounds: 4, more: useGroups })
  return () => made.remove()
})

afterEach(() => rm(directory, { recursive: true, force: true }))

const topicNamed = (shard: Shard, name: string): TopicId => shard.topicNamed(name)?.topicId as TopicId

/** A cursor, a queue with leases, a dead letter, and letters that were moved on from the middle of their batch. */
async function useGroups(shard: Shard): Promise<void> {
  const { groups } = shard
  const topicId = topicNamed(shard, 'orders')
  const at = { topicId, partition: 0 }
  const group = { name: 'billing', kind: 'consumer' as const, queue: null, requestId: null }
  const { groupId } = await groups.createGroup(group)
  const { epoch } = await groups.assign(groupId, [{ ...at, memberId: alice, ifNoCursor: 'earliest' }])
  await groups.ack(groupId, [{ memberId: alice, epoch, ...at, offset: 2 }])
  const queue = { leaseMs: 30_000, maxDeliveries: 5 }
  const workers = await groups.createGroup({ ...group, name: 'mail', kind: 'queue', queue })
  await groups.queue({ groupId: workers.groupId, ...at, ifNoCursor: 'earliest' }, (_, time) => {
    const claim = { leaseId: 1, memberId: alice, deadline: time + 30_000, ranges: [{ from: 0, to: 4 }] }
    const lists = {
      claims: [claim],
      acked: [{ from: 1, to: 2 }],
      returned: [],
      extended: [],
      reason: 0 as const,
    }
    return { move: { floor0: 0, frontier: 4, nextLeaseId: 2, ...lists }, result: undefined }
  })
  const dead = await createTopic(shard, 'orders.billing.dlq')
  const ack = { groupId, memberId: alice, epoch, ...at, offset: 3 }
  await groups.deadLetter({ requestId: someRequestId(), ack, letter: textBatch(['dead'], { topicId: dead }) })
  await append(shard, textBatch(['b', 'c', 'd'], { topicId: dead }))
  const moved = { topicId: dead, partition: 0, from: 0, to: 2, batches: [] }
  await groups.moveDeadLetters({ requestId: someRequestId(), ...moved })
}

async function damagedCopy(): Promise<void> {
  directory = await mkdtemp(join(tmpdir(), 'millrace-repair-groups-'))
  await cp(made.directory, directory, { recursive: true })
}

/** The WAL alone says what there was. */
async function withoutManifest(): Promise<void> {
  await damagedCopy()
  await rm(join(directory, 'manifest'), { recursive: true })
}

async function repaired(): Promise<RepairResult> {
  const result = await repairDirectory({
    disk: nodeDisk,
    directory,
    random: systemRandom,
    confirm: () => true,
  })
  expect(result.report.faults).toEqual([])
  expect((await verifyDirectory({ disk: nodeDisk, directory })).faults).toEqual([])
  return result
}

/** Starts a broker on what there is now. */
async function opened<T>(look: (shard: Shard) => T | Promise<T>): Promise<T> {
  const store = await LmdbStore.open({ disk: nodeDisk, directory: join(directory, 'manifest') })
  const shard = await openTestShard({ directory, disk: nodeDisk, store, limits: TINY_LIMITS })
  try {
    return await look(shard)
  } finally {
    await shard.close()
    await store.close()
  }
}

const groupNamed = (shard: Shard, name: string) => {
  const group = shard.groups.state.groupsByName.get(name)
  return {
    epoch: group?.epoch,
    cursors: [...(group?.cursors.values() ?? [])].map(({ offset, ownerMember }) => ({ offset, ownerMember })),
    ranges: [...(group?.queues.values() ?? [])].flatMap(({ ranges }) => [...ranges]),
  }
}

/** The group of the WAL with the last command of this opcode, and that command. */
async function commandOf(opcode: number): Promise<{ group: GroupPlace; byteStart: number }> {
  const group = (await groupsOf(directory)).findLast(({ rows }) => rows.some((row) => row.opcode === opcode))
  const row = group?.rows.findLast((each) => each.opcode === opcode)
  if (group === undefined || row === undefined) throw new Error(`no command ${opcode}`)
  return { group, byteStart: row.byteStart }
}

describe('a directory with groups', () => {
  test('verifies, and starts with everything that was acknowledged', async () => {
    await damagedCopy()
    expect((await verifyDirectory({ disk: nodeDisk, directory })).faults).toEqual([])
    await opened(async (shard) => {
      expect(groupNamed(shard, 'billing')).toMatchObject({
        epoch: 1,
        cursors: [{ offset: 3, ownerMember: alice }],
      })
      expect(groupNamed(shard, 'mail').ranges).toMatchObject([{ kind: 1 }, { kind: 0 }, { kind: 1 }])
      const dead = await readAll(shard, topicNamed(shard, 'orders.billing.dlq'))
      expect(dead.records.map(({ value }) => value)).toEqual(['c', 'd'])
    })
  })

  test.each([9, 10, 11])('gets rows of keyspace %i back from the WAL', async (keyspace) => {
    await damagedCopy()
    await flipManifestValue(directory, keyspace)
    const report = await verifyDirectory({ disk: nodeDisk, directory })
    expect(report.status).toBe('corrupt')
    const { plan } = await repaired()
    expect(plan?.lostGroups).toEqual([])
    await opened((shard) => {
      expect(groupNamed(shard, 'billing').cursors).toEqual([{ offset: 3, ownerMember: alice }])
      expect(groupNamed(shard, 'mail').ranges).toHaveLength(3)
    })
  })

  test('that has lost a group of the WAL fences every member and takes every lease back', async () => {
    await withoutManifest()
    const { group, byteStart } = await commandOf(OPCODE.cursorsDeleted).catch(() =>
      commandOf(OPCODE.queueMoved),
    )
    // The queue's move is lost with it.
    await flip(group.file, group.position + byteStart + 3)
    await repaired()
    await opened((shard) => {
      expect(groupNamed(shard, 'billing')).toEqual({
        epoch: 2,
        cursors: [{ offset: 3, ownerMember: null }],
        ranges: [],
      })
      expect(groupNamed(shard, 'mail')).toMatchObject({ epoch: 1, ranges: [] })
    })
  })

  test('loses a dead letter together with the move of its cursor, never one alone', async () => {
    for (const part of ['letter', 'cursor'] as const) {
      await withoutManifest()
      const groups = await groupsOf(directory)
      const group = groups.find(({ rows }) =>
        rows.some(({ opcode }) => opcode === OPCODE.answered),
      ) as GroupPlace
      const letter = group.rows.find(({ opcode }) => opcode === OPCODE.append)?.byteStart ?? 0
      const cursor = group.rows.find(({ opcode }) => opcode === OPCODE.cursorsMoved)?.byteStart ?? 0
      const at = part === 'letter' ? letter + 113 : cursor + 2
      await flip(group.file, group.position + at)
      await repaired()
      await opened(async (shard) => {
        expect(groupNamed(shard, 'billing').cursors, part).toMatchObject([{ offset: 2 }])
        const dead = topicNamed(shard, 'orders.billing.dlq')
        const { records } = await readAll(shard, dead)
        // Offset 0 was the letter's, and is nobody's now.
        expect(records, part).toEqual([
          { offset: 2, value: 'c' },
          { offset: 3, value: 'd' },
        ])
      })
      await rm(directory, { recursive: true, force: true })
    }
  })

  test('keeps the records behind a start that lies within a batch', async () => {
    await withoutManifest()
    const dead = made.contents.topics.find(({ name }) => name === 'orders.billing.dlq')
    const groups = await groupsOf(directory)
    const group = groups.findLast(({ rows }) =>
      rows.some(({ topicId }) => topicId === dead?.topicId),
    ) as GroupPlace
    await flip(group.file, group.position + 50)
    const { plan } = await repaired()
    expect(plan?.rebuild?.keepsWal).toBe(false)
    await opened(async (shard) => {
      const dead = topicNamed(shard, 'orders.billing.dlq')
      expect(shard.bounds(dead, 0)).toEqual({ startOffset: 2, durableEnd: 4 })
      expect((await readAll(shard, dead)).records.map(({ value }) => value)).toEqual(['c', 'd'])
    })
  })

  test('whose every snapshot and manifest is gone is made again of the WAL, groups and all', async () => {
    await withoutManifest()
    const snapshots = await filesIn(directory, 'snapshots')
    expect(snapshots.filter((path) => path.endsWith('.snapshot'))).toEqual([])
    await opened((shard) => {
      expect(groupNamed(shard, 'billing').cursors).toEqual([{ offset: 3, ownerMember: alice }])
    })
  })
})
