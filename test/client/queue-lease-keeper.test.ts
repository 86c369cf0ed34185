import { beforeEach, describe, expect, it } from 'vitest'
import { text } from '../../client/encodings.js'
import type { HeldJob } from '../../client/held-job.js'
import { LeaseKeeper } from '../../client/queue-lease-keeper.js'
import { QueueLeases } from '../../client/queue-leases.js'
import type { QueueSettlements, Settlement } from '../../client/queue-settlements.js'
import { defineTopic } from '../../client/topic.js'
import { topicIdFrom } from '../../protocol/ids.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { ManualClock } from '../support/manual-clock.js'

const LEASE_MS = 3_000
const Mails = defineTopic({ name: 'mails', key: text(), value: text() })

let clock: ManualClock
let leases: QueueLeases
let lost: number[]
/** Extensions that were asked for and have no answer. */
let asked: Settlement[]
let keeper: LeaseKeeper

beforeEach(() => {
  clock = new ManualClock()
  leases = new QueueLeases(Mails)
  lost = []
  asked = []
  const settlements = { add: (one: Settlement) => asked.push(one), refuse: () => {} }
  keeper = new LeaseKeeper({
    clock,
    leases,
    settlements: settlements as unknown as QueueSettlements,
    leaseMs: LEASE_MS,
    lost: (job: HeldJob) => {
      lost.push(job.offset)
      leases.remove(job)
    },
  })
  const builder = new RecordBatchBuilder()
  builder.append({ key: null, value: 'hello', headers: null, timestamp: 0 })
  const { payload } = builder.finish()
  const batch = {
    baseOffset: 0,
    appendTime: 0,
    baseTimestamp: 0,
    recordCount: 1,
    payloadBytes: payload.length,
  }
  const place = { topicId: topicIdFrom('1'.repeat(32)), partition: 0, leaseId: 1, deadline: 0, groupId: 1 }
  const delivery = { ...place, ranges: [{ from: 0, to: 1 }], counts: [], batches: [batch], payloads: payload }
  keeper.joined(LEASE_MS)
  leases.add(delivery as unknown as Parameters<QueueLeases['add']>[0], keeper.deadlineOfNew())
  keeper.watch()
})

describe('a keeper of leases', () => {
  it('after a blocked event loop asks the broker, and does what that says', () => {
    clock.stall(10 * LEASE_MS)
    expect(lost).toEqual([])
    expect(asked).toHaveLength(1)
    asked[0]?.caller.done()
    clock.advance(LEASE_MS / 2)
    expect(lost).toEqual([])
  })

  it('waits for an answer that was late when its event loop was blocked', () => {
    clock.advance(LEASE_MS / 2)
    expect(asked).toHaveLength(1)
    clock.stall(10 * LEASE_MS)
    expect(lost).toEqual([])
    asked[0]?.caller.done()
    clock.advance(LEASE_MS / 4)
    expect(lost).toEqual([])
  })

  it('gives jobs up by its own clock when the broker is out of reach', () => {
    keeper.linkDown()
    clock.advance(LEASE_MS - 1)
    expect(lost).toEqual([])
    clock.advance(500)
    expect(lost).toEqual([0])
    expect(clock.timers).toBe(0)
  })

  it('looks once more before that, since the answer to joining may be there unread', () => {
    keeper.linkDown()
    clock.stall(10 * LEASE_MS)
    expect(lost).toEqual([])
    keeper.joined(LEASE_MS)
    expect(asked).toHaveLength(1)
    asked[0]?.caller.done()
    clock.advance(LEASE_MS / 4)
    expect(lost).toEqual([])
  })
})
