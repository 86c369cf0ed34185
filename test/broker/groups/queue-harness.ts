import { expect } from 'vitest'
import { DeadLetters } from '../../../broker/groups/dead-letters.js'
import { EntrySlicer } from '../../../broker/groups/entry-slice.js'
import { PatientClock } from '../../../broker/groups/patient-clock.js'
import { QueueCoordinator } from '../../../broker/groups/queue-coordinator.js'
import type { DeliveryHead } from '../../../broker/groups/queue-delivery.js'
import type { QueueShard } from '../../../broker/groups/queue-partition.js'
import type { QueueLink } from '../../../broker/groups/running-queue.js'
import type { ReadResult } from '../../../broker/shard/read.js'
import type { Shard, ShardLimits } from '../../../broker/shard/shard.js'
import type { MemberId, TopicId } from '../../../protocol/ids.js'
import type { GroupJoined, JoinGroup } from '../../../protocol/messages/group.js'
import { decodeRecords, type WireHeaders } from '../../../protocol/records.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedShard } from '../shard/simulated-shard.js'

export interface ReceivedJob {
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
  readonly value: string
  readonly headers: WireHeaders | null
  readonly leaseId: number
  /** As the worker is told: deliveries before this one that counted. */
  readonly count: number
  readonly deadline: number
}

/** A worker's connection that takes what it is sent and remembers it. */
export class RecordingLink implements QueueLink {
  readonly clientName = 'test'
  readonly jobs: ReceivedJob[] = []
  readonly frames: { head: DeliveryHead; payloads: readonly Uint8Array[] }[] = []
  ended: { code: string; message: string; retriable: boolean } | undefined
  /** While true, what is sent stays in the socket. */
  isStuck = false
  silence = 0
  #unsent: (() => void)[] = []

  silentMs(): number {
    return this.silence
  }

  deliver(head: DeliveryHead, payloads: readonly Uint8Array[], release: () => void): void {
    const bytes = new Uint8Array(Buffer.concat(payloads))
    this.frames.push({ head, payloads })
    let at = 0
    const counts = new Map(head.counts.map(({ offset, count }) => [offset, count]))
    const offsets: number[] = []
    for (const { baseOffset, recordCount, payloadBytes } of head.batches) {
      for (const record of decodeRecords(bytes.subarray(at, at + payloadBytes), recordCount)) {
        const offset = baseOffset + record.offsetDelta
        offsets.push(offset)
        const { topicId, partition, leaseId, deadline } = head
        const value =
          typeof record.value === 'string' ? record.value : Buffer.from(record.value ?? []).toString()
        const { headers } = record
        const count = counts.get(offset) ?? 0
        this.jobs.push({ topicId, partition, offset, value, headers, leaseId, count, deadline })
      }
      at += payloadBytes
    }
    expect(at).toBe(bytes.length)
    const claimed = head.ranges.flatMap(({ from, to }) =>
      Array.from({ length: to - from }, (_, i) => from + i),
    )
    expect(offsets).toEqual(claimed)
    if (this.isStuck) this.#unsent.push(release)
    else release()
  }

  end(reason: { code: string; message: string; retriable: boolean }): void {
    this.ended = reason
  }

  unstick(): void {
    this.isStuck = false
    for (const release of this.#unsent.splice(0)) release()
  }
}

/** Queues on a real shard, whose disk and clock are simulated. */
export class QueueHarness {
  readonly simulated = new SimulatedShard()
  readonly warnings: string[] = []
  /** Bytes that were read and not given back, now and at most. */
  readonly held = { bytes: 0, bytesMax: 0 }
  shard!: Shard
  coordinator!: QueueCoordinator
  letters!: DeadLetters
  patience!: PatientClock
  #limits: Partial<ShardLimits> = {}
  #life = 1

  static async open(limits: Partial<ShardLimits> = {}): Promise<QueueHarness> {
    const harness = new QueueHarness()
    harness.#limits = limits
    harness.shard = await harness.simulated.open(limits)
    harness.#coordinate()
    return harness
  }

  #coordinate(): void {
    const { clock, metrics, failpoints } = this.simulated
    const slicer = new EntrySlicer({ cacheBytesMax: 1 << 20 })
    const shard = this.#watched(this.shard)
    const life = this.#life
    this.letters = new DeadLetters({ shard, slicer, random: new SeededRandom(7), metrics })
    this.patience = new PatientClock(clock)
    this.coordinator = new QueueCoordinator({
      shard,
      clock,
      patience: this.patience,
      metrics,
      failpoints,
      slicer,
      letters: this.letters,
      rangesMax: this.#limits.queueRangesMax ?? 1000,
      // What a dead process would have said is said to nobody.
      warn: (message) => void (life === this.#life && this.warnings.push(message)),
    })
  }

  /** The shard, with an eye on what is read of it. */
  #watched(shard: Shard): QueueShard {
    const { held } = this
    const watch = (result: ReadResult): ReadResult => {
      held.bytes += result.bytes
      held.bytesMax = Math.max(held.bytes, held.bytesMax)
      let isHeld = true
      const release = (): void => {
        expect(isHeld, 'given back twice').toBe(true)
        isHeld = false
        held.bytes -= result.bytes
        result.release()
      }
      return { ...result, release }
    }
    return {
      groups: shard.groups,
      time: () => shard.time(),
      bounds: (topicId, partition) => shard.bounds(topicId, partition),
      topic: (topicId) => shard.topic(topicId),
      topicNamed: (name) => shard.topicNamed(name),
      createTopic: (topic) => shard.createTopic(topic),
      follow: (at, wake) => shard.follow(at, wake),
      read: (request) => {
        const result = shard.read(request)
        return result instanceof Promise ? result.then(watch) : watch(result)
      },
    }
  }

  async crash(how: 'kill' | 'power cut' = 'kill'): Promise<void> {
    this.#life++
    this.shard = await this.simulated.crash(how)
    this.#coordinate()
  }

  join(
    group: string,
    fields: Partial<JoinGroup> & { memberId: MemberId; topicIds: TopicId[] },
    link: QueueLink,
  ): Promise<Omit<GroupJoined, 'correlationId'>> {
    return this.coordinator.join(
      {
        group,
        kind: 'queue',
        attempt: 1,
        ifNoCursor: 'earliest',
        sessionTimeoutMs: 10_000,
        leaseMs: 30_000,
        maxDeliveries: 5,
        prefetch: 100,
        held: [],
        heldLeases: [],
        ...fields,
      },
      link,
    )
  }

  /** Lets time pass for everybody: timers, members, leases. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 250) {
      await this.simulated.clock.advanceAndSettle(Math.min(left, 250))
      this.coordinator.tick(this.patience.tick())
    }
    await this.rest()
  }

  /** Until nothing happens any more of itself. */
  async rest(): Promise<void> {
    for (let i = 0; i < 40; i++) await new Promise((resolve) => setImmediate(resolve))
  }

  async until(isSo: () => boolean, what = 'it'): Promise<void> {
    for (let i = 0; i < 1500; i++) {
      if (isSo()) return
      // Threads that inflate need real time.
      await new Promise((resolve) => (i < 500 ? setImmediate(resolve) : setTimeout(resolve, 5)))
    }
    throw new Error(`${what} never happened`)
  }
}
