import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { AppendBatch } from '../../../broker/shard/append-batch.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { CursorAck, JobAck, UnitResult, WriteUnit } from '../../../broker/shard/write-unit.js'
import { memberIdFrom, type TopicId } from '../../../protocol/ids.js'
import { appendUnit, idBatch } from '../../support/checked-writes.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { outcomeOf, quiet, SimulatedShard } from './simulated-shard.js'

const ada = memberIdFrom('ad'.repeat(16))
const bob = memberIdFrom('b0'.repeat(16))

let simulated: SimulatedShard
let shard: Shard
let input: TopicId
let output: TopicId
let audit: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  shard = await simulated.open()
  input = await createTopic(shard, 'input')
  output = await createTopic(shard, 'output', 2)
  audit = await createTopic(shard, 'audit')
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

const write = (topicId: TopicId, records: string[], fields: Partial<AppendBatch> = {}): AppendBatch =>
  idBatch(records, { topicId, ...fields })

const stored = async (topicId: TopicId, partition = 0): Promise<string[]> =>
  (await readAll(shard, topicId, { partition })).records.map(({ value }) => value)

const end = (topicId: TopicId): number => shard.bounds(topicId, 0).durableEnd

/** A consumer group whose only member has the input. */
async function joined(name = 'billing'): Promise<(offset: number) => CursorAck> {
  const { groupId } = await shard.groups.createGroup({
    ...{ name, kind: 'consumer', queue: null, requestId: someRequestId() },
  })
  const move = { topicId: input, partition: 0, memberId: ada, ifNoCursor: 'earliest' as const }
  const { epoch } = await shard.groups.assign(groupId, [move])
  return (offset) => ({ groupId, memberId: ada, topicId: input, partition: 0, epoch, offset })
}

/** A work queue that has leased the first `to` offsets of the input to ada. */
async function leased(to: number, leaseMs = 30_000): Promise<(from: number, to: number) => JobAck> {
  const { groupId } = await shard.groups.createGroup({
    ...{ name: 'mail', kind: 'queue', queue: { leaseMs, maxDeliveries: 5 }, requestId: someRequestId() },
  })
  const at = { groupId, topicId: input, partition: 0 }
  await shard.groups.queue({ ...at, ifNoCursor: 'earliest' }, (queue, time) => ({
    move: {
      ...{ floor0: queue.floor, frontier: to, nextLeaseId: queue.nextLeaseId + 1, reason: 0 },
      claims: [
        {
          ...{ leaseId: queue.nextLeaseId, memberId: ada, deadline: time + leaseMs },
          ranges: [{ from: 0, to }],
        },
      ],
      ...{ acked: [], returned: [], extended: [] },
    },
    result: queue.nextLeaseId,
  }))
  return (from, to) => ({ ...at, memberId: ada, leaseId: 1, ranges: [{ from, to }] })
}

const cursorOf = ({ groupId }: CursorAck): number | undefined =>
  shard.groups.state.groups.get(groupId)?.cursors.get(`${input}/0`)?.offset

const queueOf = ({ groupId }: JobAck) => shard.groups.state.groups.get(groupId)?.queues.get(`${input}/0`)

async function refused(unit: Partial<WriteUnit>, code: string, details?: object): Promise<void> {
  const before = shard.stateHash()
  const refusal = await appendUnit(shard, unit).catch((error: unknown) => error)
  expect(refusal).toMatchObject({ code, outcome: 'notWritten', ...(details && { details }) })
  expect(shard.stateHash()).toBe(before)
  // And nothing of it is left in what the next group sees.
  const ends = [end(output), end(audit)]
  const next = await appendUnit(shard, { writes: [write(output, ['next']), write(audit, ['next'])] })
  expect(next.writes.map(({ baseOffset }) => baseOffset)).toEqual(ends)
}

describe('a unit', () => {
  test('writes its batches in one group, which readers see all of or nothing', async () => {
    const seen: number[][] = []
    for (const topicId of [output, audit]) {
      shard.follow({ topicId, partition: 0 }, () => seen.push([end(output), end(audit)]))
    }
    const groups = simulated.counter('walGroups')
    const unit = { writes: [write(output, ['a', 'b']), write(audit, ['c']), write(output, ['d'])] }
    expect(await appendUnit(shard, unit)).toEqual({
      appendTime: simulated.clock.now(),
      writes: [
        { partition: 0, baseOffset: 0, duplicates: null },
        { partition: 0, baseOffset: 0, duplicates: null },
        { partition: 0, baseOffset: 2, duplicates: null },
      ],
      retried: false,
    })
    expect(simulated.counter('walGroups')).toBe(groups + 1)
    await quiet()
    expect(seen).toEqual([
      [3, 1],
      [3, 1],
    ])
    expect([await stored(output), await stored(audit)]).toEqual([['a', 'b', 'd'], ['c']])
    expect(simulated.counter('atomicWrites')).toBe(1)
  })

  test('moves cursors and settles jobs with what it writes', async () => {
    await append(shard, textBatch(['1', '2', '3'], { topicId: input }))
    const ack = await joined()
    const jobs = await leased(3)
    const unit = { writes: [write(output, ['x'])], acks: [ack(2), jobs(0, 1), jobs(2, 3)] }
    await appendUnit(shard, unit)
    expect(simulated.counter('jobsAcked')).toBe(2)
    const check = async (): Promise<void> => {
      expect(cursorOf(ack(0))).toBe(2)
      expect(queueOf(jobs(0, 1))?.row).toMatchObject({
        floor: 1,
        frontier: 3,
        ranges: [
          { from: 1, to: 2, kind: 1 },
          { from: 2, to: 3, kind: 0 },
        ],
      })
      expect(await stored(output)).toEqual(['x'])
    }
    await check()
    shard = await simulated.crash()
    await check()
  })

  test('that a retry brings again after its answer was lost gets its first answer, across a crash too', async () => {
    await append(shard, textBatch(['1'], { topicId: input }))
    const ack = await joined()
    await append(shard, write(output, ['a=0']))
    const unit: WriteUnit = {
      requestId: someRequestId(),
      writes: [write(output, ['a=1', 'b=1']), write(audit, ['c'])],
      acks: [ack(1)],
    }
    const [first, atOnce] = (await Promise.all([appendUnit(shard, unit), appendUnit(shard, unit)])) as [
      UnitResult,
      UnitResult,
    ]
    expect(first.writes[0]?.duplicates).toEqual([{ index: 0, partition: 0, offset: 0 }])
    expect(atOnce).toEqual({ ...first, retried: true })
    const hash = shard.stateHash()
    expect(await appendUnit(shard, unit)).toEqual({ ...first, retried: true })
    expect(shard.stateHash()).toBe(hash)
    shard = await simulated.crash()
    expect(await appendUnit(shard, unit)).toEqual({ ...first, retried: true })
    shard = await simulated.reopen()
    expect(await appendUnit(shard, unit)).toEqual({ ...first, retried: true })
    expect([await stored(output), await stored(audit)]).toEqual([['a=0', 'b=1'], ['c']])
  })

  test('that was written is answered so to a retry, although its topic is gone and the disk is full', async () => {
    const unit = { requestId: someRequestId(), writes: [write(output, ['x']), write(audit, ['y'])] }
    const first = await appendUnit(shard, unit)
    await shard.deleteTopic({ requestId: someRequestId(), name: 'audit' })
    vi.spyOn(simulated.disk, 'freeBytes').mockResolvedValue(0)
    await simulated.close()
    shard = await simulated.open({ diskFreeBytesMin: 1_000 })
    expect(await appendUnit(shard, unit)).toEqual({ ...first, retried: true })
  })

  test('whose answer is forgotten is stopped by its acks: nothing is written twice', async () => {
    await append(shard, textBatch(['1', '2'], { topicId: input }))
    const ack = await joined()
    const unit = (): WriteUnit => {
      return { requestId: someRequestId(), writes: [write(output, ['x'])], acks: [ack(1)] }
    }
    await appendUnit(shard, unit())
    await refused(unit(), 'ALREADY_ACKED')
    const jobs = await leased(2)
    await appendUnit(shard, { writes: [write(audit, ['y'])], acks: [jobs(0, 1)] })
    await refused({ writes: [write(audit, ['y'])], acks: [jobs(0, 1)] }, 'LEASE_LOST')
  })

  test('goes through once when two that acknowledge the same race', async () => {
    await append(shard, textBatch(['1'], { topicId: input }))
    const ack = await joined()
    const jobs = await leased(1)
    for (const acks of [[ack(1)], [jobs(0, 1)]]) {
      const before = end(output)
      const outcomes = await Promise.all(
        Array.from({ length: 5 }, () =>
          outcomeOf(appendUnit(shard, { writes: [write(output, ['x'])], acks })),
        ),
      )
      expect(outcomes.filter((outcome) => !('code' in outcome))).toHaveLength(1)
      expect(end(output)).toBe(before + 1)
    }
  })

  test('expects offsets after what it has written itself', async () => {
    await append(shard, write(output, ['0']))
    const unit = (...expected: number[]): Partial<WriteUnit> => ({
      writes: expected.map((expectedOffset) => write(output, ['x', 'y'], { expectedOffset })),
    })
    expect((await appendUnit(shard, unit(1, 3, 5))).writes.map(({ baseOffset }) => baseOffset)).toEqual([
      1, 3, 5,
    ])
    await refused(unit(7, 7), 'EXPECTED_OFFSET_CONFLICT', { expectedOffset: 7, actualOffset: 9 })
  })

  test('leaves out records whose dedup id is known or comes earlier in it, and writes the rest', async () => {
    await append(shard, write(output, ['a=0']))
    const result = await appendUnit(shard, {
      writes: [
        write(output, ['a=1']),
        write(output, ['b=1', 'a=2', 'c=1'], { expectedOffset: 1 }),
        write(output, ['b=2', 'd=1'], { partition: 1 }),
      ],
    })
    expect(result.writes).toEqual([
      { partition: 0, baseOffset: 1, duplicates: [{ index: 0, partition: 0, offset: 0 }] },
      { partition: 0, baseOffset: 1, duplicates: [{ index: 1, partition: 0, offset: 0 }] },
      { partition: 1, baseOffset: 0, duplicates: [{ index: 0, partition: 0, offset: 1 }] },
    ])
    expect([await stored(output, 0), await stored(output, 1)]).toEqual([['a=0', 'b=1', 'c=1'], ['d=1']])
    const later = await append(shard, write(output, ['b=3', 'd=3']))
    expect(later.duplicates).toEqual([
      { index: 0, partition: 0, offset: 1 },
      { index: 1, partition: 1, offset: 1 },
    ])
    expect(simulated.counter('dedupDuplicates')).toBe(5)
  })
})

describe('a unit beside batches and units of the same group', () => {
  test('and they find the dedup ids of each other, whichever is taken first', async () => {
    const source = shard.openSource({ onPressure() {} })
    const unit = (records: string[]): WriteUnit => {
      return { requestId: someRequestId(), writes: [write(output, records)], acks: [] }
    }
    const appendOf = (records: string[]) =>
      new Promise((resolve) => source.append(write(output, records), (_error, ack) => resolve(ack)))
    const unitOf = (records: string[]) =>
      new Promise((resolve) => source.appendUnit(unit(records), (_error, result) => resolve(result)))
    const groups = simulated.counter('walGroups')
    const [first, second, third, fourth, fifth] = await Promise.all([
      unitOf(['a=1', 'b=1']),
      appendOf(['a=2', 'c=1']),
      unitOf(['b=2', 'c=2', 'd=1']),
      unitOf(['d=2']),
      appendOf(['d=3']),
    ])
    expect(simulated.counter('walGroups')).toBe(groups + 1)
    const at = (index: number, offset: number) => ({ index, partition: 0, offset })
    expect(first).toMatchObject({ writes: [{ baseOffset: 0, duplicates: null }] })
    expect(second).toMatchObject({ baseOffset: 2, duplicates: [at(0, 0)] })
    expect(third).toMatchObject({ writes: [{ baseOffset: 4, duplicates: [at(0, 1), at(1, 3)] }] })
    expect(fourth).toMatchObject({ writes: [{ baseOffset: 7, duplicates: [at(0, 6)] }] })
    expect(fifth).toMatchObject({ baseOffset: 7, duplicates: [at(0, 6)] })
    expect(await stored(output)).toEqual(['a=1', 'b=1', 'c=1', 'd=1'])
  })
})

describe('a refused unit leaves no trace', () => {
  let ack: (offset: number) => CursorAck
  let jobs: (from: number, to: number) => JobAck
  const writes = (): AppendBatch[] => [write(output, ['u=1']), write(audit, ['v'])]

  beforeEach(async () => {
    await append(shard, textBatch(['1', '2', '3'], { topicId: input }))
    ack = await joined()
    jobs = await leased(2)
  })

  test('when the topic or partition of the last write is unknown or only to be read', async () => {
    const unknown = 'f'.repeat(32) as TopicId
    await refused({ writes: [...writes(), write(unknown, ['x'])], acks: [ack(1)] }, 'UNKNOWN_TOPIC')
    await refused({ writes: [...writes(), write(audit, ['x'], { partition: 9 })] }, 'UNKNOWN_PARTITION')
    const { topicId } = shard.topicNamed('_millrace.changes') as { topicId: TopicId }
    await refused({ writes: [...writes(), write(topicId, ['x'])], acks: [ack(1)] }, 'TOPIC_READ_ONLY')
    expect(await outcomeOf(append(shard, write(topicId, ['x'])))).toMatchObject({ code: 'TOPIC_READ_ONLY' })
  })

  test('when its topic is deleted by the group that would write it', async () => {
    const doomed = await createTopic(shard, 'doomed')
    const stall = simulated.stall('walBeforeWrite')
    const before = append(shard, textBatch(['x'], { topicId: input }))
    await stall.held()
    const deleted = shard.deleteTopic({ requestId: someRequestId(), name: 'doomed' })
    const outcome = outcomeOf(
      appendUnit(shard, { writes: [...writes(), write(doomed, ['x'])], acks: [ack(1)] }),
    )
    stall.release()
    await Promise.all([before, deleted])
    expect(await outcome).toEqual({ code: 'UNKNOWN_TOPIC', outcome: 'notWritten' })
    expect([cursorOf(ack(0)), end(output), end(audit)]).toEqual([0, 0, 0])
  })

  test('when the last write expects another offset', async () => {
    const late = write(audit, ['x'], { expectedOffset: 7 })
    await refused({ writes: [...writes(), late], acks: [ack(1), jobs(0, 1)] }, 'EXPECTED_OFFSET_CONFLICT')
    expect((await append(shard, write(output, ['u=2']))).duplicates).toBeNull()
  })

  test('when a batch of it is damaged', async () => {
    const damaged = { ...write(audit, ['x']), payloadCrc: 1 }
    await refused({ writes: [...writes(), damaged], acks: [ack(1)] }, 'BAD_CRC')
  })

  test('when an ack is of another member, another epoch, an unknown group or a group of the other kind', async () => {
    const cases: [CursorAck | JobAck, string][] = [
      [{ ...ack(1), memberId: bob }, 'FENCED'],
      [{ ...ack(1), epoch: 99 }, 'FENCED'],
      [{ ...ack(1), topicId: audit }, 'FENCED'],
      [{ ...ack(1), groupId: 99 }, 'UNKNOWN_GROUP'],
      [{ ...ack(1), groupId: jobs(0, 1).groupId }, 'GROUP_KIND_CONFLICT'],
      [{ ...jobs(0, 1), groupId: ack(1).groupId }, 'GROUP_KIND_CONFLICT'],
      [{ ...jobs(0, 1), groupId: 99 }, 'UNKNOWN_GROUP'],
    ]
    for (const [bad, code] of cases) {
      const good = 'leaseId' in bad ? ack(1) : jobs(0, 1)
      await refused({ writes: writes(), acks: [good, bad] }, code)
    }
    expect([cursorOf(ack(0)), queueOf(jobs(0, 1))?.floor]).toEqual([0, 0])
  })

  test('when a member was fenced by an assignment of the same group of the WAL', async () => {
    const stall = simulated.stall('walBeforeWrite')
    const before = append(shard, textBatch(['x'], { topicId: input }))
    await stall.held()
    const move = { topicId: input, partition: 0, memberId: bob, ifNoCursor: 'earliest' as const }
    const assigned = shard.groups.assign(ack(0).groupId, [move])
    const outcome = outcomeOf(appendUnit(shard, { writes: writes(), acks: [ack(1)] }))
    stall.release()
    await Promise.all([before, assigned])
    expect(await outcome).toEqual({ code: 'FENCED', outcome: 'notWritten' })
    expect([cursorOf(ack(0)), end(output), end(audit)]).toEqual([0, 0, 0])
  })

  test('when the queue of its jobs begins anew, or goes, with the same group of the WAL', async () => {
    const { groupId } = jobs(0, 2)
    const at = { topicId: input, partition: 0 }
    const both = async (change: () => Promise<unknown>) => {
      const stall = simulated.stall('walBeforeWrite')
      const before = append(shard, textBatch(['x'], at))
      await stall.held()
      const changed = change()
      const outcome = outcomeOf(appendUnit(shard, { writes: writes(), acks: [ack(1), jobs(0, 2)] }))
      stall.release()
      await Promise.all([before, changed])
      expect(await outcome).toEqual({ code: 'LEASE_LOST', outcome: 'notWritten' })
      expect([cursorOf(ack(0)), end(output), end(audit)]).toEqual([0, 0, 0])
    }
    const request = { requestId: someRequestId(), name: 'mail', create: false }
    await both(() => shard.groups.resetCursors({ ...request, moves: [{ ...at, to: 'earliest' as const }] }))
    expect(queueOf(jobs(0, 2))?.row).toMatchObject({ floor: 0, frontier: 0, ranges: [] })
    await both(() => shard.groups.deleteCursors({ groupId, partitions: [at], reason: 'asked' }))
    expect(queueOf(jobs(0, 2))).toBeUndefined()
  })

  test('when an ack is past the durable end', async () => {
    await refused({ writes: writes(), acks: [ack(4)] }, 'ACK_OUT_OF_RANGE', { endOffset: 3 })
  })

  test('when a lease is not held, not held any more, or named twice', async () => {
    const cases: (JobAck | JobAck[])[] = [
      { ...jobs(0, 1), memberId: bob },
      { ...jobs(0, 1), leaseId: 7 },
      { ...jobs(0, 1), topicId: audit },
      jobs(1, 3),
      jobs(2, 3),
      [jobs(0, 2), jobs(1, 2)],
    ]
    for (const bad of cases) {
      await refused({ writes: writes(), acks: [ack(1), ...(Array.isArray(bad) ? bad : [bad])] }, 'LEASE_LOST')
    }
    simulated.clock.advance(30_000)
    await refused({ writes: writes(), acks: [ack(1), jobs(0, 1)] }, 'LEASE_LOST')
    expect([cursorOf(ack(0)), queueOf(jobs(0, 1))?.floor]).toEqual([0, 0])
  })

  test('when it is larger than a batch may be, in all or in dedup ids, or holds nothing', async () => {
    const large = Array.from({ length: 3 }, () => write(output, ['x'.repeat(50_000)]))
    await refused({ writes: large, acks: [ack(1)] }, 'ATOMIC_TOO_LARGE')
    const refusal = await appendUnit(shard, { writes: large }).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ details: { bytesMax: 128 * 1024 }, retriable: false })
    const ids = Array.from({ length: 4_097 }, (_, i) => `${i}=x`)
    await refused({ writes: [write(output, ids)] }, 'ATOMIC_TOO_LARGE', {
      dedupIds: 4_097,
      dedupIdsMax: 4_096,
    })
    await refused({ writes: [] }, 'ILLEGAL_ARGUMENT')
    await refused({ writes: writes(), acks: [{ ...jobs(0, 1), ranges: [] }] }, 'ILLEGAL_ARGUMENT')
    await refused({ writes: writes(), acks: [ack(2), ack(1)] }, 'ILLEGAL_ARGUMENT')
  })

  test('when the dedup index is full', async () => {
    await simulated.close()
    shard = await simulated.open({ dedupBytesMax: 5_120 })
    const ids = (from: number) => Array.from({ length: 40 }, (_, i) => `${from + i}=x`)
    await append(shard, write(output, ids(0)))
    await refused({ writes: [write(output, ids(100)), write(audit, ids(0))] }, 'DEDUP_FULL')
    expect((await appendUnit(shard, { writes: [write(output, ids(0))] })).writes[0]?.duplicates).toHaveLength(
      40,
    )
  })
})

describe('a unit of acks alone', () => {
  test('goes on while the disk is full and while appends are held back, and gets its first answer again', async () => {
    await append(shard, textBatch(['1', '2'], { topicId: input }))
    const ack = await joined()
    const jobs = await leased(2)
    vi.spyOn(simulated.disk, 'freeBytes').mockResolvedValue(0)
    await simulated.close()
    shard = await simulated.open({ diskFreeBytesMin: 1_000 })
    expect(await outcomeOf(appendUnit(shard, { writes: [write(output, ['x'])], acks: [ack(1)] }))).toEqual({
      code: 'DISK_FULL',
      outcome: 'notWritten',
    })
    const unit = { requestId: someRequestId(), acks: [ack(1), jobs(0, 2)] }
    const [first, atOnce] = await Promise.all([appendUnit(shard, unit), appendUnit(shard, unit)])
    expect(first).toMatchObject({ writes: [], retried: false })
    expect(atOnce).toEqual({ ...first, retried: true })
    const counted = ['jobsAcked', 'atomicWrites', 'atomicRetries'] as const
    expect(counted.map((name) => simulated.counter(name))).toEqual([2, 1, 1])
    expect([cursorOf(ack(0)), queueOf(jobs(0, 1))?.floor]).toEqual([1, 2])
    expect(await outcomeOf(appendUnit(shard, { acks: [ack(1)] }))).toMatchObject({ code: 'ALREADY_ACKED' })
    expect(await outcomeOf(appendUnit(shard, { acks: [ack(2), jobs(0, 1)] }))).toMatchObject({
      code: 'LEASE_LOST',
    })
    expect(cursorOf(ack(0))).toBe(1)
  })
})

describe('units and crashes', () => {
  for (const seed of [1, 2, 3, 4]) {
    test(`leave each input in the output once, all of a unit or nothing (seed ${seed})`, async () => {
      const random = new SeededRandom(seed)
      const ack = await joined()
      const inputs = 120
      for (let i = 0; i < inputs; i++) await append(shard, textBatch([`${i}`], { topicId: input }))
      let crashes = 0
      for (let next = 0; next < inputs; ) {
        const to = Math.min(inputs, next + 1 + random.below(4))
        const values = Array.from({ length: to - next }, (_, i) => `${next + i}`)
        const unit = {
          requestId: someRequestId(),
          writes: [write(output, values, { partition: random.below(2) }), write(audit, values)],
          acks: [ack(to)],
        }
        if (random.chance(0.15)) {
          // The answer is lost with the process; the unit may be on disk or not.
          crashes++
          void outcomeOf(appendUnit(shard, unit))
          await quiet(random.below(12))
          shard = await simulated.crash(random.pick(['kill', 'power cut']))
        }
        const outcome = await outcomeOf(
          appendUnit(shard, random.chance(0.5) ? unit : { ...unit, requestId: someRequestId() }),
        )
        if ('code' in outcome) expect(outcome.code).toBe('ALREADY_ACKED')
        next = to
      }
      expect(crashes).toBeGreaterThan(3)
      const all = Array.from({ length: inputs }, (_, i) => `${i}`)
      const written = [...(await stored(output, 0)), ...(await stored(output, 1))]
      expect(written.sort((a, b) => Number(a) - Number(b))).toEqual(all)
      expect(await stored(audit)).toEqual(all)
      expect(cursorOf(ack(0))).toBe(inputs)
    })
  }
})
