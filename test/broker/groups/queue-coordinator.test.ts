import { gzipSync } from 'node:zlib'
import { describe, expect, test, vi } from 'vitest'
import { crc32 } from '#crc32'
import { EntrySlicer } from '../../../broker/groups/entry-slice.js'
import { QueueMembers } from '../../../broker/groups/queue-members.js'
import { COMPRESSION } from '../../../protocol/entry.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import { append, createTopic, readAll, someRequestId, textBatch } from '../../support/test-shard.js'
import { QueueHarness, type ReceivedJob, RecordingLink } from './queue-harness.js'
import { member } from './queue-world.js'

const [ada, bob] = [member(1), member(2)]

const names = (count: number, prefix = 'job'): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix} ${i}`)

interface Started {
  harness: QueueHarness
  topicId: TopicId
  groupId: number
  link: RecordingLink
}

/** A topic with jobs, and ada at work on it. */
async function started(
  jobs: number,
  options: { join?: Record<string, unknown>; partitions?: number; limits?: Record<string, number> } = {},
): Promise<Started> {
  const harness = await QueueHarness.open(options.limits)
  const topicId = await createTopic(harness.shard, 'mails', options.partitions ?? 1)
  if (jobs > 0) await append(harness.shard, textBatch(names(jobs), { topicId }))
  const link = new RecordingLink()
  const joined = await harness.join('mail', { memberId: ada, topicIds: [topicId], ...options.join }, link)
  await harness.rest()
  return { harness, topicId, groupId: joined.groupId, link }
}

const settle = (
  { harness, groupId }: Started,
  memberId: MemberId,
  kind: 'ack' | 'nack' | 'extend' | 'release',
  jobs: readonly ReceivedJob[],
  more: { ms?: number; reason?: string } = {},
) =>
  harness.coordinator.queueSettle({
    groupId,
    memberId,
    items: jobs.map(({ topicId, partition, leaseId, offset }) => ({
      kind,
      topicId,
      partition,
      leaseId,
      from: offset,
      to: offset + 1,
      ms: more.ms ?? null,
      reason: more.reason ?? null,
    })),
  })

const start = ({ harness, groupId }: Started, memberId: MemberId, jobs: readonly ReceivedJob[]): void => {
  for (const { topicId, partition, leaseId, offset } of jobs) {
    const ranges = [{ from: offset, to: offset + 1 }]
    harness.coordinator.queueStarted({ groupId, memberId, topicId, partition, leaseId, ranges })
  }
}

const queueOf = ({ harness, groupId, topicId }: Started, partition = 0) =>
  harness.shard.groups.state.groups.get(groupId)?.queues.get(`${topicId}/${partition}`)

describe('a worker', () => {
  test('gets the jobs that are there, and those that come, up to what it has room for', async () => {
    const world = await started(3, { join: { prefetch: 5 } })
    const { harness, topicId, link, groupId } = world
    expect(link.jobs.map(({ value }) => value)).toEqual(names(3))
    await append(harness.shard, textBatch(names(4, 'more'), { topicId }))
    await harness.rest()
    expect(link.jobs).toHaveLength(5)
    harness.coordinator.queueCredit({ groupId, memberId: ada, records: 1 })
    await harness.rest()
    expect(link.jobs.map(({ value }) => value)).toEqual([...names(3), ...names(3, 'more')])
  })

  test('has its acks durable: after a crash nothing of them comes again, and all else does', async () => {
    const world = await started(10)
    const { harness, link, topicId } = world
    expect(await settle(world, ada, 'ack', link.jobs.slice(0, 4))).toEqual({ results: [], deadlines: [] })
    await harness.crash('power cut')
    const again = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, again)
    await harness.rest()
    // The leases of the lost worker still run.
    expect(again.jobs).toEqual([])
    await harness.pass(30_000)
    expect(again.jobs.map(({ value }) => value)).toEqual(names(10).slice(4))
    expect(again.jobs.every(({ count }) => count === 0)).toBe(true)
  })

  test('whose leases ran out while the broker was down has its jobs given to others at once', async () => {
    const { harness, topicId } = await started(5)
    await harness.crash()
    harness.simulated.clock.advance(60_000)
    const link = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, link)
    await harness.rest()
    expect(link.jobs).toHaveLength(5)
  })

  test('that leaves gives its jobs to the others at once', async () => {
    const world = await started(6)
    const { harness, topicId, groupId, link } = world
    start(world, ada, link.jobs)
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, other)
    expect(other.jobs).toEqual([])
    await harness.coordinator.leave({ groupId, memberId: ada })
    await harness.rest()
    expect(other.jobs.map(({ value }) => value)).toEqual(names(6))
    expect(other.jobs.every(({ count }) => count === 0)).toBe(true)
    await expect(settle(world, ada, 'ack', link.jobs)).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER' })
  })

  test('counts as one until all that it said before it left is done: the queue is not begun anew in between', async () => {
    const world = await started(2)
    const { harness, link, groupId } = world
    const queues = new QueueMembers(harness.coordinator)
    const settling = settle(world, ada, 'ack', link.jobs)
    const leaving = harness.coordinator.leave({ groupId, memberId: ada })
    expect(queues.isActive(groupId)).toBe(true)
    await leaving
    expect(queues.isActive(groupId)).toBe(false)
    expect(await settling).toEqual({ results: [], deadlines: [] })
    expect(queueOf(world)?.floor).toBe(2)
  })

  test('that loses its connection keeps its jobs until it is given up, and pays for those it had started', async () => {
    const world = await started(3)
    const { harness, topicId, link } = world
    start(world, ada, link.jobs.slice(0, 1))
    harness.coordinator.closed(link)
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, other)
    await harness.pass(9_500)
    expect(other.jobs).toEqual([])
    await harness.pass(1_000)
    expect(other.jobs.map(({ count }) => count)).toEqual([1, 0, 0])
    expect(harness.simulated.metrics.snapshot().counters.membersExpired).toBe(1)
  })

  test('that comes back in time goes on with the leases it has; what never reached it comes again', async () => {
    const world = await started(3)
    const { harness, topicId, link } = world
    const { leaseId } = link.jobs[0] as ReceivedJob
    harness.coordinator.closed(link)
    await append(harness.shard, textBatch(['late'], { topicId }))
    await harness.rest()
    const again = new RecordingLink()
    const heldLeases = [{ topicId, partition: 0, leaseId, started: [{ from: 0, to: 1 }] }]
    await harness.join('mail', { memberId: ada, attempt: 2, topicIds: [topicId], heldLeases }, again)
    await harness.rest()
    expect(again.jobs.map(({ value }) => value)).toEqual(['late'])
    expect((await settle(world, ada, 'ack', link.jobs)).results).toEqual([])
    await harness.pass(20_000)
    expect(again.ended).toBeUndefined()
  })

  test('that comes back without a lease that it was given has that given out again', async () => {
    const world = await started(3)
    const { harness, topicId, link } = world
    harness.coordinator.closed(link)
    const again = new RecordingLink()
    await harness.join('mail', { memberId: ada, attempt: 2, topicIds: [topicId] }, again)
    await harness.rest()
    expect(again.jobs.map(({ value, count }) => [value, count])).toEqual(names(3).map((name) => [name, 0]))
    expect((await settle(world, ada, 'ack', link.jobs)).results).toHaveLength(3)
  })

  test('that comes back while jobs are cut out for it gets each under one lease, the one that holds', async () => {
    let letGo = (): void => {}
    const isLetGo = new Promise<void>((resolve) => (letGo = resolve))
    const world = await started(0)
    const { harness, topicId, link } = world
    const slice = EntrySlicer.prototype.slice
    const slow = vi.spyOn(EntrySlicer.prototype, 'slice').mockImplementationOnce(async function (
      this: EntrySlicer,
      ...of
    ) {
      await isLetGo
      return slice.apply(this, of)
    })
    await append(harness.shard, textBatch(names(3), { topicId }))
    await harness.until(() => slow.mock.calls.length > 0)
    harness.coordinator.closed(link)
    const again = new RecordingLink()
    await harness.join('mail', { memberId: ada, attempt: 2, topicIds: [topicId] }, again)
    letGo()
    await harness.rest()
    slow.mockRestore()
    expect(again.jobs.map(({ value }) => value)).toEqual(names(3))
    expect((await settle(world, ada, 'ack', again.jobs)).results).toEqual([])
  })

  test('that is silent for longer than its session timeout is expelled', async () => {
    const { harness, link } = await started(3)
    link.silence = 9_000
    await harness.pass(250)
    expect(link.ended).toBeUndefined()
    link.silence = 10_001
    await harness.pass(250)
    expect(link.ended).toMatchObject({ code: 'FENCED' })
  })

  test('is not expelled for what is the fault of the broker', async () => {
    const { harness, link } = await started(3)
    link.silence = 12_000
    harness.simulated.clock.advance(12_000)
    harness.coordinator.tick(harness.patience.tick())
    expect(link.ended).toBeUndefined()
  })

  test('that does not read is sent no more than so much, and goes on when it does', async () => {
    const world = await started(0, { join: { prefetch: 10_000 } })
    const { harness, topicId, link } = world
    link.isStuck = true
    const big = 'x'.repeat(30_000)
    for (let i = 0; i < 60; i++) {
      await append(harness.shard, textBatch([big, big, big, big], { topicId }))
    }
    await harness.rest()
    const sent = link.jobs.length
    expect(sent * big.length).toBeGreaterThan(4e6)
    expect(sent).toBeLessThan(200)
    expect(harness.held.bytes).toBeGreaterThan(4e6)
    link.unstick()
    await harness.until(() => link.jobs.length === 240, 'the rest')
    expect(harness.held.bytes).toBe(0)
  })
})

test('a worker with room for everything is not read more for at once than a little', async () => {
  const harness = await QueueHarness.open()
  const topicId = await createTopic(harness.shard, 'mails')
  const big = 'x'.repeat(30_000)
  for (let i = 0; i < 100; i++) await append(harness.shard, textBatch([big, big, big], { topicId }))
  const link = new RecordingLink()
  await harness.join('mail', { memberId: ada, topicIds: [topicId], prefetch: 10_000 }, link)
  await harness.until(() => link.jobs.length === 300, 'all jobs')
  expect(harness.held).toEqual({ bytes: 0, bytesMax: expect.any(Number) })
  expect(harness.held.bytesMax).toBeLessThan(3e6)
  expect(new Set(link.jobs.map(({ leaseId }) => leaseId)).size).toBeGreaterThan(5)
})

test('a worker whose connection goes while it joins is no member', async () => {
  const harness = await QueueHarness.open()
  const topicId = await createTopic(harness.shard, 'mails')
  await append(harness.shard, textBatch(names(3), { topicId }))
  const link = new RecordingLink()
  const joining = harness.join('mail', { memberId: ada, topicIds: [topicId] }, link)
  harness.coordinator.closed(link)
  await expect(joining).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await harness.rest()
  expect(link.jobs).toEqual([])
  expect([...harness.coordinator.queues]).toEqual([])
})

describe('two workers', () => {
  test('never have the same job, and together have all', async () => {
    const world = await started(0, { join: { prefetch: 7 } })
    const { harness, topicId, groupId, link } = world
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId], prefetch: 4 }, other)
    for (let i = 0; i < 20; i++) await append(harness.shard, textBatch(names(5, `batch ${i}`), { topicId }))
    const done = new Map([ada, bob].map((memberId) => [memberId, 0]))
    for (let round = 0; round < 100; round++) {
      for (const [memberId, at] of [
        [ada, link],
        [bob, other],
      ] as const) {
        const jobs = at.jobs.slice(done.get(memberId))
        if (jobs.length === 0) continue
        done.set(memberId, at.jobs.length)
        expect((await settle(world, memberId, 'ack', jobs)).results).toEqual([])
        harness.coordinator.queueCredit({ groupId, memberId, records: jobs.length })
      }
      await harness.rest()
    }
    const values = [...link.jobs, ...other.jobs].map(({ value }) => value)
    expect(new Set(values).size).toBe(100)
    expect(values).toHaveLength(100)
    expect(queueOf(world)).toMatchObject({ floor: 100, frontier: 100 })
    expect(queueOf(world)?.ranges).toEqual([])
  })

  test('cannot have one id', async () => {
    const { harness, topicId, link } = await started(1)
    const other = new RecordingLink()
    const join = { memberId: ada, topicIds: [topicId] }
    await expect(harness.join('mail', join, other)).rejects.toMatchObject({ code: 'MEMBER_EXISTS' })
    expect(link.ended).toBeUndefined()
    await harness.join('mail', { ...join, attempt: 2 }, other)
    expect(link.ended).toMatchObject({ code: 'FENCED' })
  })
})

describe('jobs', () => {
  test('of many partitions are shared among few workers without passing their room', async () => {
    const harness = await QueueHarness.open()
    const topicId = await createTopic(harness.shard, 'mails', 8)
    for (let partition = 0; partition < 8; partition++) {
      await append(harness.shard, textBatch(names(10, `p${partition}`), { topicId, partition }))
    }
    const link = new RecordingLink()
    const { groupId } = await harness.join('mail', { memberId: ada, topicIds: [topicId], prefetch: 4 }, link)
    await harness.rest()
    expect(link.jobs).toHaveLength(4)
    const seen = new Set<string>()
    for (let done = 0; done < 80; ) {
      const jobs = link.jobs.slice(done)
      expect(jobs.length).toBeLessThanOrEqual(4)
      for (const { value } of jobs) seen.add(value)
      done += jobs.length
      await settle({ harness, topicId, groupId, link }, ada, 'ack', jobs)
      harness.coordinator.queueCredit({ groupId, memberId: ada, records: jobs.length })
      await harness.rest()
    }
    expect(seen.size).toBe(80)
  })

  test('of a compressed batch are delivered one by one', async () => {
    const { harness, topicId, link, groupId } = await started(0, { join: { prefetch: 1 } })
    const plain = textBatch(names(20), { topicId })
    const payload = new Uint8Array(gzipSync(plain.payload))
    const { gzip: attributes } = COMPRESSION
    await append(harness.shard, { ...plain, payload, payloadCrc: crc32(payload), attributes })
    for (let i = 1; i <= 20; i++) {
      await harness.until(() => link.jobs.length === i, `job ${i}`)
      harness.coordinator.queueCredit({ groupId, memberId: ada, records: 1 })
    }
    expect(link.jobs.map(({ value }) => value)).toEqual(names(20))
  })

  test('that were deleted before anybody took them are passed over', async () => {
    const harness = await QueueHarness.open()
    const topicId = await createTopic(harness.shard, 'mails')
    await append(harness.shard, textBatch(names(6), { topicId }))
    const early = new RecordingLink()
    const { groupId } = await harness.join('mail', { memberId: ada, topicIds: [topicId], prefetch: 0 }, early)
    const requestId = someRequestId()
    await harness.shard.groups.moveDeadLetters({
      requestId,
      topicId,
      partition: 0,
      from: 0,
      to: 4,
      batches: [],
    })
    harness.coordinator.queueCredit({ groupId, memberId: ada, records: 10 })
    await harness.rest()
    expect(early.jobs.map(({ value }) => value)).toEqual(['job 4', 'job 5'])
  })

  test('from before a worker joined with "latest" are not for its group', async () => {
    const { harness, topicId, link } = await started(5, { join: { ifNoCursor: 'latest' } })
    expect(link.jobs).toEqual([])
    await append(harness.shard, textBatch(['new'], { topicId }))
    await harness.rest()
    expect(link.jobs.map(({ value }) => value)).toEqual(['new'])
  })

  test.each([
    ['in a way that nobody expected', new Error('eio')],
    ['because the disk failed', new MillraceError('STORAGE_FAILED')],
  ])('that a read cannot get %s are read again a little later', async (_how, error) => {
    const world = await started(0)
    const { harness, topicId, link } = world
    harness.simulated.failpoints.arm('queueBeforeRead', () => Promise.reject(error))
    await append(harness.shard, textBatch(['job'], { topicId }))
    await harness.rest()
    expect(link.jobs).toEqual([])
    expect(harness.warnings).toHaveLength(1)
    await harness.pass(1_000)
    expect(link.jobs).toHaveLength(1)
  })
})

describe('a settlement', () => {
  test('of something that is not held is refused item by item, and changes nothing', async () => {
    const world = await started(4)
    const { harness, link } = world
    const [first, second] = link.jobs as [ReceivedJob, ReceivedJob]
    await settle(world, ada, 'ack', [first])
    const before = harness.shard.stateHash()
    const wrong = [
      first,
      { ...second, leaseId: 99 },
      { ...second, offset: 1000 },
      { ...second, partition: 3 },
    ]
    expect((await settle(world, ada, 'ack', wrong)).results).toEqual([
      { index: 0, code: 'LEASE_LOST' },
      { index: 1, code: 'LEASE_LOST' },
      { index: 2, code: 'ACK_OUT_OF_RANGE' },
      { index: 3, code: 'LEASE_LOST' },
    ])
    await expect(settle(world, bob, 'ack', [second])).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER' })
    await expect(settle({ ...world, groupId: 77 }, ada, 'ack', [second])).rejects.toMatchObject({
      code: 'UNKNOWN_GROUP',
    })
    expect(harness.shard.stateHash()).toBe(before)
  })

  test('extends a lease, so that nobody else gets the job, and not once it has run out', async () => {
    const world = await started(2)
    const { harness, link, topicId } = world
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, other)
    await harness.pass(20_000)
    const [kept, lost] = link.jobs as [ReceivedJob, ReceivedJob]
    const extended = await settle(world, ada, 'extend', [kept], { ms: 30_000 })
    expect(extended).toEqual({
      results: [],
      deadlines: [{ index: 0, deadline: harness.shard.time() + 30_000 }],
    })
    await harness.pass(15_000)
    expect([...link.jobs.slice(2), ...other.jobs].map(({ value }) => value)).toEqual(['job 1'])
    expect((await settle(world, ada, 'extend', [lost], { ms: 1 })).results).toEqual([
      { index: 0, code: 'LEASE_LOST' },
    ])
    expect((await settle(world, ada, 'ack', [kept])).results).toEqual([])
  })

  test('with a delay brings the job back after it', async () => {
    const world = await started(1)
    const { harness, link } = world
    await settle(world, ada, 'nack', link.jobs, { ms: 3_000 })
    await harness.pass(2_750)
    expect(link.jobs).toHaveLength(1)
    await harness.pass(500)
    expect(link.jobs.map(({ count }) => count)).toEqual([0, 1])
  })
})

describe('a job that fails too often', () => {
  test('goes to the dead letters of its group, in the record that ends it, with what is known of it', async () => {
    const world = await started(2, { join: { maxDeliveries: 2 } })
    const { harness, link } = world
    await settle(world, ada, 'nack', link.jobs.slice(0, 1), { ms: 0, reason: 'first' })
    await harness.until(() => link.jobs.length === 3)
    await settle(world, ada, 'nack', link.jobs.slice(2), { reason: 'no such street' })
    const dlq = harness.shard.topicNamed('mails.mail.dlq')
    expect(dlq).toMatchObject({ partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    const reader = new RecordingLink()
    await harness.join('undertaker', { memberId: bob, topicIds: [dlq?.topicId as TopicId] }, reader)
    await harness.rest()
    expect(reader.jobs).toMatchObject([
      {
        value: 'job 0',
        headers: {
          'millrace-reason': 'no such street',
          'millrace-count': '2',
          'millrace-topic': 'mails',
          'millrace-partition': '0',
          'millrace-offset': '0',
          'millrace-group': 'mail',
        },
      },
    ])
    expect(queueOf(world)?.floor).toBe(1)
    expect(harness.simulated.metrics.snapshot().counters.deadLetters).toBe(1)
  })

  test('is buried a little later when the disk does not give its record now', async () => {
    const world = await started(1, { join: { maxDeliveries: 1 } })
    const { harness, link } = world
    vi.spyOn(harness.letters, 'record').mockRejectedValueOnce(new MillraceError('STORAGE_FAILED'))
    const settling = settle(world, ada, 'nack', link.jobs, { reason: 'no such street' })
    await harness.pass(1_000)
    expect(await settling).toMatchObject({ results: [] })
    const dlq = harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId
    expect(await harness.letters.record({ topicId: dlq, partition: 0, offset: 0 })).toMatchObject({
      value: 'job 0',
    })
    expect(harness.warnings).toEqual([expect.stringContaining('a dead letter cannot be written')])
  })

  test('is buried without key and value when its record is damaged, and keeps no other from it', async () => {
    const world = await started(3, { join: { maxDeliveries: 1 } })
    const { harness, link, topicId } = world
    const { letters } = harness
    const readable = letters.record.bind(letters)
    vi.spyOn(letters, 'record').mockImplementation((at) =>
      at.topicId === topicId && at.offset === 1
        ? Promise.reject(new MillraceError('CORRUPT_DATA'))
        : readable(at),
    )
    const { results } = await settle(world, ada, 'nack', link.jobs, { reason: 'no such street' })
    expect(results).toEqual([])
    expect(queueOf(world)?.floor).toBe(3)
    const dlq = harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId
    const at = (offset: number) => letters.record({ topicId: dlq, partition: 0, offset })
    expect(await at(0)).toMatchObject({ value: 'job 0' })
    expect(await at(1)).toMatchObject({
      key: null,
      value: null,
      headers: {
        'millrace-unreadable': 'CORRUPT_DATA',
        'millrace-reason': 'its record could not be read (CORRUPT_DATA); no such street',
        'millrace-topic': 'mails',
        'millrace-offset': '1',
      },
    })
    expect(await at(2)).toMatchObject({ value: 'job 2' })
    expect(harness.warnings).toEqual([expect.stringContaining('offset 1 is buried without key and value')])
    expect(harness.simulated.metrics.snapshot().counters.deadLetters).toBe(3)
  })

  test('is neither lost nor doubled by a crash, whenever it comes', async () => {
    for (let rounds = 0; rounds < 12; rounds++) {
      const world = await started(1, { join: { maxDeliveries: 1, leaseMs: 1_000 } })
      const { harness, link, topicId } = world
      void settle(world, ada, 'nack', link.jobs).catch(() => {})
      for (let i = 0; i < rounds; i++) await new Promise((resolve) => setImmediate(resolve))
      await harness.crash(rounds % 2 === 0 ? 'kill' : 'power cut')
      const again = new RecordingLink()
      const join = { memberId: bob, topicIds: [topicId], maxDeliveries: 1 }
      const { groupId } = await harness.join('mail', join, again)
      await harness.pass(1_500)
      await settle({ harness, topicId, groupId, link: again }, bob, 'nack', again.jobs)
      const dlq = harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId
      expect((await readAll(harness.shard, dlq)).records, `after ${rounds} turns`).toHaveLength(1)
      expect(queueOf(world)?.floor).toBe(1)
    }
  })

  test('stays its worker’s until its dead letter can be written, and nobody else gets it', async () => {
    const world = await started(1, { join: { maxDeliveries: 1 } })
    const { harness, link, topicId } = world
    const unblock = await blockDeadLetters(world)
    const nacked = settle(world, ada, 'nack', link.jobs)
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, other)
    await harness.pass(45_000)
    expect(other.jobs).toEqual([])
    expect(harness.warnings.length).toBeGreaterThan(2)
    await unblock()
    await harness.pass(60_000)
    expect((await nacked).results).toEqual([])
    expect(queueOf(world)?.floor).toBe(1)
  })
})

/** A topic of the name of the dead letters that cannot hold them. */
async function blockDeadLetters({ harness }: Started): Promise<() => Promise<void>> {
  const wrong = {
    name: 'mails.mail.dlq',
    partitions: 1,
    keyEncoding: 'bytes',
    valueEncoding: 'bytes',
  } as const
  await harness.shard.createTopic({ requestId: someRequestId(), ifMissing: false, ...wrong })
  return async () => {
    await harness.shard.deleteTopic({ requestId: someRequestId(), name: wrong.name })
  }
}

describe('a job that is being buried', () => {
  test('is buried though the last worker has left', async () => {
    const world = await started(1, { join: { maxDeliveries: 1 } })
    const { harness, link, groupId } = world
    const unblock = await blockDeadLetters(world)
    void settle(world, ada, 'nack', link.jobs).catch(() => {})
    await harness.rest()
    await harness.coordinator.leave({ groupId, memberId: ada })
    await harness.pass(5_000)
    await unblock()
    await harness.pass(30_000)
    expect(queueOf(world)?.floor).toBe(1)
    expect(
      harness.shard.bounds(harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId, 0).durableEnd,
    ).toBe(1)
    expect(harness.coordinator.queue(groupId)).toBeUndefined()
  })

  test('is not, once the queue was begun anew', async () => {
    const world = await started(1, { join: { maxDeliveries: 1 } })
    const { harness, link, topicId } = world
    const unblock = await blockDeadLetters(world)
    void settle(world, ada, 'nack', link.jobs).catch(() => {})
    await harness.rest()
    const moves = [{ topicId, partition: 0, to: 'earliest' as const }]
    await harness.shard.groups.resetCursors({
      requestId: someRequestId(),
      name: 'mail',
      moves,
      create: false,
    })
    await unblock()
    await harness.pass(30_000)
    const dlq = harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId
    expect((await readAll(harness.shard, dlq)).records).toEqual([])
    expect(queueOf(world)?.floor).toBe(0)
  })

  test('does not stand in the way of who gets it after the queue was begun anew', async () => {
    const world = await started(1, { join: { maxDeliveries: 1 } })
    const { harness, link, topicId, groupId } = world
    await blockDeadLetters(world)
    void settle(world, ada, 'nack', link.jobs).catch(() => {})
    await harness.rest()
    await harness.coordinator.leave({ groupId, memberId: ada })
    const moves = [{ topicId, partition: 0, to: 'earliest' as const }]
    const request = { requestId: someRequestId(), name: 'mail', create: false }
    await harness.shard.groups.resetCursors({ ...request, moves })
    harness.coordinator.wasReset(groupId)
    const other = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId], maxDeliveries: 1 }, other)
    await harness.until(() => other.jobs.length === 1)
    expect((await settle(world, bob, 'ack', other.jobs)).results).toEqual([])
    expect(queueOf(world)?.floor).toBe(1)
  })
})

describe('dead letters', () => {
  async function buried(jobs: number): Promise<Started> {
    const world = await started(jobs, { join: { maxDeliveries: 1 } })
    await settle(world, ada, 'nack', world.link.jobs, { reason: 'bad' })
    return world
  }

  test('that are replayed come to their group as jobs, and to no other', async () => {
    const world = await buried(3)
    const { harness, topicId, link } = world
    const other = new RecordingLink()
    await harness.join('other', { memberId: bob, topicIds: [topicId] }, other)
    await harness.rest()
    expect(other.jobs).toHaveLength(3)
    expect(
      await harness.letters.replay({ requestId: someRequestId(), topicId, group: 'mail', max: 2 }),
    ).toEqual({ replayed: 2, left: 1 })
    await harness.rest()
    const replayed = link.jobs.slice(3)
    expect(replayed.map(({ value }) => value)).toEqual(['job 0', 'job 1'])
    expect(replayed[0]?.topicId).toBe(harness.shard.topicNamed('mails.mail.retry')?.topicId)
    expect((await settle(world, ada, 'ack', replayed)).results).toEqual([])
    expect(other.jobs).toHaveLength(3)
    expect(
      await harness.letters.replay({ requestId: someRequestId(), topicId, group: 'mail', max: 100 }),
    ).toEqual({
      replayed: 1,
      left: 0,
    })
  })

  test('that fail again come back to the same topic, with their place of origin and all their tries', async () => {
    const world = await buried(1)
    const { harness, topicId, link } = world
    await harness.letters.replay({ requestId: someRequestId(), topicId, group: 'mail', max: 1 })
    await harness.until(() => link.jobs.length === 2)
    await settle(world, ada, 'nack', link.jobs.slice(1), { reason: 'worse' })
    const dlq = harness.shard.topicNamed('mails.mail.dlq')?.topicId as TopicId
    const record = await harness.letters.record({ topicId: dlq, partition: 0, offset: 1 })
    expect(record).toMatchObject({
      value: 'job 0',
      headers: {
        'millrace-reason': 'worse',
        'millrace-count': '2',
        'millrace-topic': 'mails',
        'millrace-offset': '0',
      },
    })
  })

  test('are replayed and purged once for one request, however often that is sent', async () => {
    const { harness, topicId } = await buried(3)
    const replay = { requestId: someRequestId(), topicId, group: 'mail', max: 1 }
    expect(await harness.letters.replay(replay)).toEqual({ replayed: 1, left: 2 })
    expect(await harness.letters.replay(replay)).toEqual({ replayed: 1, left: 2 })
    const purge = { requestId: someRequestId(), topicId, group: 'mail' }
    expect(await harness.letters.purge(purge)).toEqual({ records: 2 })
    expect(await harness.letters.purge(purge)).toEqual({ records: 2 })
  })

  test('wait for a group that has no member', async () => {
    const { harness, topicId, groupId } = await buried(2)
    await harness.coordinator.leave({ groupId, memberId: ada })
    await harness.letters.replay({ requestId: someRequestId(), topicId, group: 'mail', max: 10 })
    const link = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId] }, link)
    await harness.rest()
    expect(link.jobs.map(({ value }) => value)).toEqual(names(2))
  })

  test('that are purged are gone', async () => {
    const { harness, topicId } = await buried(3)
    expect(await harness.letters.purge({ requestId: someRequestId(), topicId, group: 'mail' })).toEqual({
      records: 3,
    })
    expect(await harness.letters.purge({ requestId: someRequestId(), topicId, group: 'mail' })).toEqual({
      records: 0,
    })
    expect(
      await harness.letters.replay({ requestId: someRequestId(), topicId, group: 'mail', max: 9 }),
    ).toEqual({ replayed: 0, left: 0 })
  })

  test('of a group that was deleted can be purged, and are replayed only once it is there again', async () => {
    const { harness, topicId, groupId } = await buried(2)
    await harness.coordinator.leave({ groupId, memberId: ada })
    await harness.shard.groups.deleteGroup({ name: 'mail', requestId: someRequestId() })
    const request = () => ({ requestId: someRequestId(), topicId, group: 'mail' })
    await expect(harness.letters.replay({ ...request(), max: 9 })).rejects.toMatchObject({
      code: 'UNKNOWN_GROUP',
      message: expect.stringContaining('must be made again'),
    })
    const link = new RecordingLink()
    await harness.join('mail', { memberId: bob, topicIds: [topicId], ifNoCursor: 'latest' }, link)
    expect(await harness.letters.replay({ ...request(), max: 1 })).toEqual({ replayed: 1, left: 1 })
    await harness.coordinator.leave({
      groupId: harness.shard.groups.state.groupsByName.get('mail')?.groupId ?? 0,
      memberId: bob,
    })
    await harness.shard.groups.deleteGroup({ name: 'mail', requestId: someRequestId() })
    expect(await harness.letters.purge(request())).toEqual({ records: 1 })
    expect(await harness.letters.purge(request())).toEqual({ records: 0 })
    const nobody = { ...request(), group: 'nobody' }
    await expect(harness.letters.purge(nobody)).rejects.toMatchObject({ code: 'UNKNOWN_GROUP' })
  })

  test('of a group or topic that is not there are an error', async () => {
    const { harness, topicId } = await buried(1)
    const nobody = { requestId: someRequestId(), topicId, group: 'nobody', max: 1 }
    await expect(harness.letters.replay(nobody)).rejects.toMatchObject({ code: 'UNKNOWN_GROUP' })
    const nothing = { requestId: someRequestId(), topicId: 'ff'.repeat(16) as TopicId, group: 'mail' }
    await expect(harness.letters.purge(nothing)).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
  })
})

const someQueue = {
  kind: 'queue',
  queue: { leaseMs: 30_000, maxDeliveries: 5 },
  requestId: null,
} as const

describe('a queue', () => {
  test('cannot have the name of a consumer group', async () => {
    const { harness, topicId } = await started(0)
    await harness.shard.groups.createGroup({
      name: 'billing',
      kind: 'consumer',
      queue: null,
      requestId: null,
    })
    const join = { memberId: bob, topicIds: [topicId] }
    await expect(harness.join('billing', join, new RecordingLink())).rejects.toMatchObject({
      code: 'GROUP_KIND_CONFLICT',
    })
  })

  test('refuses members that ask for what cannot be, and nothing is made of it', async () => {
    const { harness, topicId } = await started(0)
    const long = await createTopic(harness.shard, 'l'.repeat(245))
    const dlq = await createTopic(harness.shard, 'mails.calls.dlq')
    const before = harness.shard.stateHash()
    const refused = async (fields: Record<string, unknown>, code: string) => {
      const join = { memberId: bob, topicIds: [topicId], ...fields }
      await expect(harness.join('calls', join, new RecordingLink())).rejects.toMatchObject({ code })
    }
    await refused({ topicIds: [] }, 'ILLEGAL_ARGUMENT')
    await refused({ topicIds: [long] }, 'ILLEGAL_ARGUMENT')
    await refused({ topicIds: [dlq] }, 'ILLEGAL_ARGUMENT')
    await refused({ topicIds: ['ee'.repeat(16)] }, 'UNKNOWN_TOPIC')
    await refused({ leaseMs: 1 }, 'ILLEGAL_ARGUMENT')
    await refused({ maxDeliveries: 0 }, 'ILLEGAL_ARGUMENT')
    expect(harness.shard.stateHash()).toBe(before)
  })

  test('keeps the lease time and the deliveries that it was made with', async () => {
    const { harness, topicId } = await started(0)
    const join = { memberId: bob, topicIds: [topicId], leaseMs: 5_000, maxDeliveries: 99 }
    expect(await harness.join('mail', join, new RecordingLink())).toMatchObject({
      leaseMs: 30_000,
      maxDeliveries: 5,
    })
  })

  test('is made by one write for all partitions of a join, and by none when it is there', async () => {
    const { harness, topicId } = await started(0, { partitions: 50, join: { prefetch: 0 } })
    const groups = harness.simulated.counter('walGroups')
    const join = { topicIds: [topicId], prefetch: 0 }
    await harness.join('calls', { memberId: ada, ...join }, new RecordingLink())
    // The group, and its queues.
    expect(harness.simulated.counter('walGroups') - groups).toBe(2)
    const { groupsByName } = harness.shard.groups.state
    expect(groupsByName.get('calls')?.queues.size).toBe(50)
    await harness.join('calls', { memberId: bob, ...join }, new RecordingLink())
    expect(harness.simulated.counter('walGroups') - groups).toBe(2)
    await harness.crash()
    expect(harness.shard.groups.state.groupsByName.get('calls')?.queues.size).toBe(50)
  })

  test('is made for all partitions of a join or for none when there is no room', async () => {
    const { harness } = await started(0, { limits: { cursorsMax: 10 }, join: { prefetch: 0 } })
    const wide = await createTopic(harness.shard, 'wide', 10)
    const joining = harness.join('calls', { memberId: ada, topicIds: [wide] }, new RecordingLink())
    await expect(joining).rejects.toMatchObject({ code: 'LIMIT_REACHED' })
    expect(harness.shard.groups.state.groupsByName.get('calls')?.queues.size).toBe(0)
  })

  test('is made anew for who joins while it is being deleted because nobody used it', async () => {
    for (const what of ['group', 'cursors'] as const) {
      const world = await started(2)
      const { harness, topicId, groupId } = world
      await settle(world, ada, 'ack', world.link.jobs)
      await harness.coordinator.leave({ groupId, memberId: ada })
      const { groups } = harness.shard
      const stall = harness.simulated.stall('walBeforeWrite')
      const partitions = [{ topicId, partition: 0 }]
      const deleted =
        what === 'group'
          ? groups.deleteGroup({ name: 'mail', requestId: null })
          : groups.deleteCursors({ groupId, partitions, reason: 'idle' })
      await stall.held()
      const link = new RecordingLink()
      const joined = harness.join('mail', { memberId: bob, topicIds: [topicId] }, link)
      await harness.rest()
      stall.release()
      await deleted
      await joined
      await harness.until(() => link.jobs.length === 2, what)
      expect(link.ended).toBeUndefined()
    }
  })

  test('is in use from the moment on that somebody is about to join', async () => {
    const { harness, topicId } = await started(0)
    const { groupId } = await harness.shard.groups.createGroup({ ...someQueue, name: 'calls' })
    const queues = new QueueMembers(harness.coordinator)
    expect(queues.isActive(groupId)).toBe(false)
    const opening = harness.simulated.stall('walBeforeWrite')
    const joining = harness.join('calls', { memberId: ada, topicIds: [topicId] }, new RecordingLink())
    await opening.held()
    expect(harness.coordinator.queue(groupId)?.members.size).toBe(0)
    expect(queues.isActive(groupId)).toBe(true)
    expect(queues.uses(groupId, topicId)).toBe(true)
    // It has no position yet that one could tell the lag from.
    expect([...queues.topics(groupId)]).toEqual([])
    opening.release()
    await joining
    expect(queues.uses(groupId, topicId)).toBe(true)
    expect([...queues.topics(groupId)]).toEqual([topicId])
  })

  test('takes nobody in for a topic that it does not serve, or not any more', async () => {
    const { harness, topicId, groupId } = await started(0)
    const other = await createTopic(harness.shard, 'other')
    const joining = {
      ...{ memberId: bob, attempt: 1, topicIds: [topicId, other], ifNoCursor: 'earliest' as const },
      ...{ sessionTimeoutMs: 10_000, prefetch: 1, heldLeases: [] },
    }
    const queue = harness.coordinator.queue(groupId)
    expect(() => queue?.join(joining, new RecordingLink())).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_TOPIC' }),
    )
    expect(queue?.members.size).toBe(1)
  })

  test('never has a member whose topic was deleted while it joined', async () => {
    for (let turns = 0; turns < 12; turns++) {
      const { harness } = await started(0)
      const gone = await createTopic(harness.shard, 'gone', 3)
      const link = new RecordingLink()
      const joining = harness.join('calls', { memberId: ada, topicIds: [gone] }, link)
      joining.catch(() => {})
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
      await harness.shard.deleteTopic({ requestId: someRequestId(), name: 'gone' })
      await harness.rest()
      const outcome = await joining.then(
        () => link.ended,
        (error: unknown) => error,
      )
      expect(outcome, `after ${turns} turns`).toMatchObject({ code: 'UNKNOWN_TOPIC' })
    }
  })

  test('whose topic is deleted tells its members', async () => {
    const world = await started(2)
    const { harness, link } = world
    await harness.shard.deleteTopic({ requestId: someRequestId(), name: 'mails' })
    await harness.rest()
    expect(link.ended).toMatchObject({ code: 'UNKNOWN_TOPIC' })
    await expect(settle(world, ada, 'ack', link.jobs)).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER' })
  })

  test('without members holds nothing, and sets no timer', async () => {
    const { harness, groupId } = await started(3)
    const timers = harness.simulated.clock.timers
    await harness.coordinator.leave({ groupId, memberId: ada })
    await harness.pass(500)
    expect(harness.coordinator.queue(groupId)).toBeUndefined()
    expect(harness.simulated.clock.timers).toBeLessThan(timers + 1)
    expect(harness.simulated.metrics.snapshot().gauges.leasesOut).toBe(0)
  })

  test('is told that the broker stops', async () => {
    const world = await started(1)
    const { harness, link } = world
    harness.coordinator.close()
    await expect(settle(world, ada, 'ack', link.jobs)).rejects.toMatchObject({ code: 'UNKNOWN_MEMBER' })
  })

  test('is told that what it just said may count, when the broker stops before it is on disk', async () => {
    const world = await started(2)
    const { harness, link } = world
    const acked = settle(world, ada, 'ack', link.jobs.slice(0, 1))
    await Promise.resolve()
    harness.coordinator.close()
    await expect(acked).rejects.toMatchObject({ code: 'SHUTTING_DOWN', outcome: 'unknown' })
    await harness.rest()
    expect(queueOf(world)?.floor).toBe(1)
  })

  test('is not taken in by a broker that stops, at whatever moment, and hears why', async () => {
    for (let turns = 0; turns < 8; turns++) {
      const { harness, topicId } = await started(1)
      const joining = harness.join('letters', { memberId: bob, topicIds: [topicId] }, new RecordingLink())
      const outcome = joining.then(
        () => ({ code: 'joined' }),
        (error: unknown) => error,
      )
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
      harness.coordinator.close()
      await harness.rest()
      expect(['joined', 'SHUTTING_DOWN'], `after ${turns} turns`).toContain(
        ((await outcome) as { code: string }).code,
      )
    }
  })
})
