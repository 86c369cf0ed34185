import { expect, test } from 'vitest'
import { decodeCommand, OPCODE } from '../../broker/shard/commands.js'
import { layoutOf, readIdentity } from '../../broker/shard/layout.js'
import { replayGroup } from '../../broker/shard/replay.js'
import type { Shard } from '../../broker/shard/shard.js'
import { ShardState } from '../../broker/shard/state.js'
import { type ScannedGroup, scanWal } from '../../broker/wal/scan.js'
import { memberIdFrom, type TopicId } from '../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../protocol/topic-options.js'
import { appendUnit, idBatch } from '../support/checked-writes.js'
import { ManualClock } from '../support/manual-clock.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { append, createTopic, openTestShard, someRequestId, textBatch } from '../support/test-shard.js'

const KIB = 1024

/** Cursors, leases and dead letters come and go. */
async function useGroups(shard: Shard, topicId: TopicId, round: number): Promise<void> {
  const { groups } = shard
  const memberId = memberIdFrom((round + 1).toString(16).padStart(32, '0'))
  const dead = await createTopic(shard, `dead-${round % 2}`)
  const named = (kind: 'consumer' | 'queue') =>
    groups.createGroup({
      name: `${kind}-${round % 3}`,
      kind,
      queue: kind === 'queue' ? { leaseMs: 1_000, maxDeliveries: 3 } : null,
      requestId: someRequestId(),
    })
  const [{ groupId: consumers }, { groupId: workers }] = await Promise.all([
    named('consumer'),
    named('queue'),
  ])
  const at = { topicId, partition: 0 }
  const { epoch, cursors } = await groups.assign(consumers, [{ ...at, memberId, ifNoCursor: 'earliest' }])
  const cursor = cursors[0] as number
  const ack = { memberId, epoch, ...at, offset: cursor + 5 }
  await groups.ack(consumers, [ack])
  const letter = textBatch([`dead ${round}`], { topicId: dead })
  const buried = { ...ack, groupId: consumers, offset: cursor + 6 }
  await groups.deadLetter({ requestId: someRequestId(), ack: buried, letter })
  for (let i = 0; i < 3; i++) {
    await groups.queue({ groupId: workers, ...at, ifNoCursor: 'earliest' }, (queue, time) => {
      const { floor: floor0, frontier: from, nextLeaseId: leaseId } = queue
      const ranges = [{ from, to: from + 4 }]
      const claims = [{ leaseId, memberId, deadline: time + 1_000, ranges }]
      const acked = [{ from, to: from + 1 + i }]
      const returned = [{ from: from + 3, to: from + 4, visibleAt: time, counted: i === 1 }]
      const extended = [{ from: from + 2, to: from + 3, deadline: time + 2_000 }]
      const lists = i === 0 ? { acked: [], returned: [], extended: [] } : { acked, returned, extended }
      const move = {
        floor0,
        frontier: from + 4,
        nextLeaseId: leaseId + 1,
        claims,
        ...lists,
        reason: 0 as const,
      }
      return { move, result: undefined }
    })
  }
  const { startOffset, durableEnd } = shard.bounds(dead, 0)
  const letters = { topicId: dead, partition: 0, from: startOffset, to: durableEnd, batches: [letter] }
  if (round % 4 === 3) await groups.moveDeadLetters({ requestId: someRequestId(), ...letters })
  const moves = [{ ...at, to: { offset: cursor + 1 } }]
  const reset = { requestId: someRequestId(), name: `consumer-${round % 3}`, moves, create: true }
  if (round % 3 === 1) await groups.resetCursors(reset)
  if (round % 3 === 2) await groups.deleteCursors({ groupId: workers, partitions: [at], reason: 'asked' })
  if (round % 6 === 5) await groups.deleteGroup({ name: reset.name, requestId: someRequestId() })
}

/** Ids that are new, that are there, and that come with an atomic write; in the end a batch of which nothing is left. */
async function repeat(shard: Shard, topicId: TopicId, round: number): Promise<void> {
  const producer = await shard.initProducer({ requestId: someRequestId(), name: null })
  const records = Array.from({ length: 6 }, (_, i) => `${round + i}=${round}`)
  const ofProducer = { topicId, partition: 1, ...producer }
  await append(shard, idBatch(records, { ...ofProducer, baseSequence: 0 }))
  await append(shard, idBatch(records, { ...ofProducer, baseSequence: 6 }))
  const writes = [idBatch([`${round}=x`, `unit-${round}=x`, 'plain'], { topicId })]
  await appendUnit(shard, { writes })
}

/** Records and producers go, by hand and by themselves. */
async function forget(shard: Shard, topicId: TopicId, round: number): Promise<void> {
  const options = { ...DEFAULT_TOPIC_OPTIONS, untilAcked: round % 2 === 0, maxBytes: 64 * KIB }
  const name = `topic-${round % 3}`
  await shard.alterTopic({ requestId: someRequestId(), name, options, clear: [] })
  const { startOffset, durableEnd } = shard.bounds(topicId, 1)
  // Within a chunk, within what is not sealed, and at the end.
  const offset = round % 3 === 2 ? durableEnd : Math.min(durableEnd, startOffset + 27)
  await shard.deleteBefore({ requestId: someRequestId(), topicId, partition: 1, offset })
  await shard.initProducer({ requestId: someRequestId(), name: `short-${round}-${shard.shardEpoch}` })
}

/** Streams come, are written to, are forked, and go. */
async function stream(shard: Shard, round: number): Promise<void> {
  const time = (): number => shard.time()
  const streams = shard.topics.openStreams({ clock: new ManualClock(), time, warn: () => {} })
  const create = async (name: string, sourceName?: string): Promise<TopicId> => {
    const { stream } = await streams.create({
      requestId: someRequestId(),
      name,
      contentType: 'application/json',
      ttlSeconds: 60,
      expiresAt: null,
      closed: false,
      fork: sourceName === undefined ? null : { sourceName, offset: null, subOffset: 0 },
      hasRecords: false,
      open: () => Promise.reject(new Error('it begins empty')),
      resolve: () => Promise.reject(new Error('it is forked between two records')),
    })
    return stream.topicId
  }
  const name = `stream-${round % 3}`
  const topicId = await create(name)
  const turn = 100 * shard.shardEpoch + round
  const producer = { producerId: 'p', epoch: turn, seq: 0 }
  const writes = [textBatch([`${round}`], { topicId })]
  await appendUnit(shard, {
    writes,
    stream: { topicId, closes: false, opens: false, producer, seq: `${turn}` },
  })
  if (round % 3 !== 2) return
  const fork = await create(`fork-${round}`, name)
  // Kept for its fork, and gone with it.
  for (const gone of [topicId, fork]) await streams.delete({ topicId: gone, requestId: someRequestId() })
}

/** A WAL with every command in it, over two starts of the broker; returns its groups and the state that wrote them. */
async function recordWal(): Promise<{
  groups: ScannedGroup[]
  identity: { clusterId: never; walId: string }
  hash: string
}> {
  const disk = new SimulatedDisk({ seed: 7 })
  const store = new SimulatedStore({ seed: 7 })
  // One segment: the whole history stays in the WAL.
  const limits = {
    walSegmentBytes: 16 * KIB * KIB,
    walBytesMax: 64 * KIB * KIB,
    snapshotEveryBytes: 64 * KIB * KIB,
    chunkBytes: 16 * KIB,
    producersMax: 8,
  }
  let hash = ''
  for (let start = 0; start < 2; start++) {
    const shard = await openTestShard({ directory: '/data', disk, store, limits })
    for (let round = 0; round < 12; round++) {
      const topicId = await createTopic(shard, `topic-${round % 3}`, 2)
      const named = await shard.initProducer({ requestId: someRequestId(), name: `shop-${round % 2}` })
      const unnamed = await shard.initProducer({ requestId: someRequestId(), name: null })
      const values = Array.from({ length: 20 }, (_, i) => `${round}/${i} ${'x'.repeat(300)}`)
      await Promise.all([
        append(shard, textBatch(values, { topicId, partition: 0, ...named })),
        append(shard, textBatch(values, { topicId, partition: 1, ...unnamed })),
        append(shard, textBatch(values, { topicId, partition: 1 })),
      ])
      await useGroups(shard, topicId, round)
      await repeat(shard, topicId, round)
      await forget(shard, topicId, round)
      await stream(shard, round)
      if (round % 5 === 4) await shard.deleteTopic({ requestId: someRequestId(), name: `topic-${round % 3}` })
    }
    await shard.close()
    hash = shard.stateHash()
  }
  const identity = (await readIdentity(disk, layoutOf('/data'))) as never
  const groups: ScannedGroup[] = []
  await scanWal({
    disk,
    directory: layoutOf('/data').wal,
    identity,
    from: 1,
    visit: (group) => groups.push({ ...group, bytes: group.bytes.slice() }),
  })
  return { groups, identity, hash }
}

function typesIn(groups: readonly ScannedGroup[]): Set<string> {
  const types = new Set<string>()
  for (const { rows, bytes } of groups) {
    for (const { opcode, byteStart, byteLength } of rows) {
      if (opcode === OPCODE.append) continue
      types.add(decodeCommand(opcode, bytes.subarray(byteStart, byteStart + byteLength)).type)
    }
  }
  return types
}

function replay(identity: { clusterId: never; walId: string }, groups: readonly ScannedGroup[]): string {
  const state = new ShardState(identity)
  for (const group of groups) replayGroup(state, group)
  return state.hash()
}

test('replaying every prefix of a WAL twice gives the same state, and the whole of it the state that wrote it', async () => {
  const { groups, identity, hash } = await recordWal()
  expect(groups.length).toBeGreaterThan(60)
  // Logged as time goes by, so that they may be there or not; the walk of the state has them.
  const { append: _, streamsAccessed: __, streamProducersForgotten: ___, ...others } = OPCODE
  expect([...typesIn(groups)].filter((type) => type in others).sort()).toEqual(Object.keys(others).sort())
  const hashes = groups.map((_, last) => {
    const prefix = groups.slice(0, last + 1)
    const first = replay(identity, prefix)
    expect(replay(identity, prefix)).toBe(first)
    return first
  })
  expect(new Set(hashes).size).toBe(groups.length)
  expect(hashes.at(-1)).toBe(hash)
})
