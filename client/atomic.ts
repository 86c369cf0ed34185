import { crc32 } from '#crc32'
import { COMPRESSION } from '../protocol/entry.js'
import { MillraceError } from '../protocol/error-codes.js'
import { DEFAULT_LIMITS, HARD_LIMITS } from '../protocol/limits.js'
import {
  type AtomicAck,
  type AtomicDone,
  type AtomicJobs,
  type AtomicWrite,
  atomic,
  atomicDone,
} from '../protocol/messages/atomic.js'
import type { TopicDescription } from '../protocol/messages/metadata.js'
import { RecordBatchBuilder } from '../protocol/records.js'
import {
  ACKNOWLEDGEMENT,
  type Acknowledgeable,
  type CarriedAck,
  type CursorAck,
  type JobAck,
} from './acknowledgement.js'
import type { CallOptions } from './admin.js'
import type { OutgoingRecord } from './batch.js'
import type { Connection } from './connection.js'
import { unlessAborted } from './deadline.js'
import { DedupIdsBuilder } from './dedup-ids.js'
import { illegalArgument } from './errors.js'
import type { Metadata } from './metadata.js'
import { refuseAnyPartition, unknownPartition } from './outgoing.js'
import { Partitioner } from './partitioner.js'
import { newRequestId } from './random.js'
import { encodedRecord, refuseTooLarge } from './record-encoder.js'
import { request } from './request.js'
import type { SendResult } from './settlers.js'
import type { AnyTopic, CheckedRecord, Headers } from './topic.js'

/** A record of any topic, as `topic.record` makes it; nothing else compiles, because nothing else was checked against its topic. */
export interface AnyTopicRecord extends CheckedRecord {
  readonly topic: AnyTopic
  readonly key?: unknown
  readonly value: unknown
  readonly headers?: Headers | undefined
  readonly partition?: number | undefined
  readonly timestamp?: number | Date | undefined
  readonly dedupId?: string | undefined
  readonly expectedOffset?: number | undefined
}

/** What is done all together or not at all. */
export interface AtomicWrites {
  /** Made by `topic.record`, of any topics; those of one partition are written in this order. */
  readonly writes?: readonly AnyTopicRecord[]
  /**
   * Records of consumer groups (with each, those before it in its partition are acknowledged) and jobs of work queues. They need no
   * ack of their own. In a `run` a record waits until those before it are finished: one record of each partition, then.
   */
  readonly acks?: readonly Acknowledgeable[]
}

export interface AtomicOptions extends Omit<CallOptions, 'timeoutMs'> {
  /** How long it may take, reconnects included; default 120 s. */
  readonly deliveryTimeoutMs?: number
}

export interface AtomicResult {
  /** Where the records are, in the order in which they were given. */
  readonly writes: readonly SendResult[]
}

/** Some records for one partition, in one batch. */
interface Write {
  readonly description: TopicDescription
  readonly partition: number
  readonly builder: RecordBatchBuilder
  readonly ids: DedupIdsBuilder
  readonly expectedOffset: number | null
}

/** Where a record went in the request. */
interface Slot {
  readonly write: number
  readonly index: number
  readonly timestamp: number
}

/** The acks that the write has taken over so far, to be handed back when it fails. */
interface HandOver {
  readonly carried: CarriedAck[]
  /** What is handed over from now on goes back at once. */
  isOver: boolean
}

const DELIVERY_TIMEOUT_MS = 120_000

/** Atomic writes: one request, which is repeated under its id until its answer is there. */
export class AtomicWriter {
  readonly #connection: Connection
  readonly #metadata: Metadata
  /** By topic id, so that records without a key go round. */
  readonly #partitioners = new Map<string, Partitioner>()

  constructor(connection: Connection, metadata: Metadata) {
    this.#connection = connection
    this.#metadata = metadata
  }

  async write({ writes = [], acks = [] }: AtomicWrites, options: AtomicOptions): Promise<AtomicResult> {
    if (writes.length + acks.length === 0) throw illegalArgument('an atomic write holds a record or an ack')
    const { deliveryTimeoutMs = DELIVERY_TIMEOUT_MS, signal } = options
    const { clock } = this.#connection.settings
    const deadlineMs = clock.monotonic() + deliveryTimeoutMs
    signal?.throwIfAborted()
    const encoded = await Promise.all(
      writes.map(async (record) => encodedRecord(record.topic, record, clock)),
    )
    const { slots, writes: built } = await this.#placed(writes, encoded, signal)
    const handOver: HandOver = { carried: [], isOver: false }
    const { carried } = handOver
    try {
      await unlessAborted(this.#carry(acks, handOver, deadlineMs), signal)
      const timeoutMs = Math.max(0, deadlineMs - clock.monotonic())
      const fields = {
        requestId: newRequestId(this.#connection.settings.random),
        writes: built,
        ...joined(carried.map(({ ack }) => ack)),
      }
      const done = await request(this.#connection, [atomic, atomicDone], fields, {
        timeoutMs,
        signal,
        isMutation: true,
      })
      const results = slots.map((slot) => resultOf(slot, done))
      for (const one of carried.splice(0)) one.done()
      return { writes: results }
    } catch (error) {
      handOver.isOver = true
      for (const one of carried) one.failed(error)
      if (error instanceof MillraceError && error.code === 'UNKNOWN_TOPIC') {
        for (const { topic } of writes) this.#metadata.forget(topic.name)
      }
      throw error
    }
  }

  async #carry(acks: readonly Acknowledgeable[], handOver: HandOver, deadlineMs: number): Promise<void> {
    const { clock } = this.#connection.settings
    const handedOver = acks.map(async (ack) => {
      const one = await ack[ACKNOWLEDGEMENT](acks)
      if (handOver.isOver) one.failed(timedOut())
      else handOver.carried.push(one)
    })
    const tooLate = new Promise<never>((_, reject) => {
      const timer = clock.setTimer(() => reject(timedOut()), Math.max(0, deadlineMs - clock.monotonic()))
      void Promise.allSettled(handedOver).then(() => timer.cancel())
    })
    await Promise.race([Promise.all(handedOver), tooLate])
  }

  /** The records in batches by partition, in the order in which each was begun. */
  async #placed(
    records: readonly AnyTopicRecord[],
    encoded: readonly OutgoingRecord[],
    signal: AbortSignal | undefined,
  ): Promise<{ slots: Slot[]; writes: AtomicWrite[] }> {
    const descriptions = await Promise.all(records.map(({ topic }) => this.#metadata.resolve(topic, signal)))
    const writes: Write[] = []
    const latest = new Map<string, number>()
    const slots = encoded.map((record, i) => {
      const description = descriptions[i] as TopicDescription
      const partition = this.#partitionOf(record, records[i]?.partition, description)
      refuseTooLarge(record, this.#limits.recordBytesMax)
      const key = `${description.topicId}/${partition}`
      const expectedOffset = record.expectedOffset
      let write = expectedOffset === null ? latest.get(key) : undefined
      if (write === undefined) {
        const parts = { builder: new RecordBatchBuilder({ initialBytes: 256 }), ids: new DedupIdsBuilder() }
        write = writes.push({ description, partition, expectedOffset, ...parts }) - 1
        latest.set(key, write)
      }
      const { builder, ids } = writes[write] as Write
      const index = builder.count
      builder.append(record)
      const dedupId = record.dedupId
      if (dedupId !== null) ids.add(index, dedupId)
      return { write, index, timestamp: record.timestamp }
    })
    for (const { description, partition } of writes)
      this.#partitioners.get(description.topicId)?.batchSealed(partition)
    const built = writes.map(builtWrite)
    this.#refuseTooLarge(built)
    return { slots, writes: built }
  }

  #partitionOf(record: OutgoingRecord, given: number | undefined, description: TopicDescription): number {
    const { topicId, partitions } = description
    refuseAnyPartition(record, given, description)
    let partitioner = this.#partitioners.get(topicId)
    if (partitioner === undefined) {
      partitioner = new Partitioner(partitions, this.#connection.settings.random)
      this.#partitioners.set(topicId, partitioner)
    }
    const partition = given ?? partitioner.partitionOf(record.key)
    if (Number.isInteger(partition) && partition >= 0 && partition < partitions) return partition
    throw unknownPartition(description, partition)
  }

  get #limits(): { batchBytesMax: number; recordBytesMax: number } {
    return this.#connection.link?.welcome.limits ?? DEFAULT_LIMITS
  }

  #refuseTooLarge(writes: readonly AtomicWrite[]): void {
    const bytes = writes.reduce((sum, { payload }) => sum + payload.length, 0)
    const bytesMax = this.#limits.batchBytesMax
    if (bytes > bytesMax) {
      const message = `the atomic write has ${bytes} bytes, at most ${bytesMax} are allowed`
      throw new MillraceError('ATOMIC_TOO_LARGE', { message, details: { bytes, bytesMax } })
    }
    const { atomicWritesMax } = HARD_LIMITS
    if (writes.length <= atomicWritesMax) return
    const message = `the atomic write has ${writes.length} batches, one for each partition and expected offset; at most ${atomicWritesMax} are allowed`
    throw new MillraceError('ATOMIC_TOO_LARGE', {
      message,
      details: { writes: writes.length, writesMax: atomicWritesMax },
    })
  }
}

function builtWrite({ description, partition, builder, ids, expectedOffset }: Write): AtomicWrite {
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const dedupIds = ids.bytes === 0 ? undefined : ids.finish(recordCount)
  return {
    topicId: description.topicId,
    partition,
    attributes: COMPRESSION.none,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    expectedOffset,
    idBitmap: dedupIds?.bitmap ?? null,
    ids: dedupIds?.hashes ?? null,
    payload,
  }
}

/** One ack for each cursor, the highest, and one entry for each lease: the broker takes no two. */
function joined(acks: readonly (CursorAck | JobAck)[]): { acks: AtomicAck[]; jobs: AtomicJobs[] } {
  const cursors = new Map<string, AtomicAck>()
  const leases = new Map<string, AtomicJobs>()
  const sorted = [...acks].sort((a, b) => a.offset - b.offset)
  for (const ack of sorted) {
    const { groupId, memberId, topicId, partition, offset } = ack
    const key = `${groupId}/${memberId}/${topicId}/${partition}`
    if (ack.kind === 'cursor') {
      cursors.set(key, { groupId, memberId, topicId, partition, epoch: ack.epoch, offset })
      continue
    }
    const { leaseId } = ack
    const lease = leases.get(`${key}/${leaseId}`) ?? {
      groupId,
      memberId,
      topicId,
      partition,
      leaseId,
      ranges: [],
    }
    leases.set(`${key}/${leaseId}`, lease)
    const last = lease.ranges.at(-1)
    if (last?.to === offset) last.to++
    else lease.ranges.push({ from: offset, to: offset + 1 })
  }
  return { acks: [...cursors.values()], jobs: [...leases.values()] }
}

function resultOf({ write, index, timestamp }: Slot, done: AtomicDone): SendResult {
  const written = done.writes[write]
  if (written === undefined)
    throw new MillraceError('INTERNAL', { message: 'the answer names too few writes' })
  const first = written.duplicates.find((duplicate) => duplicate.index === index)
  if (first !== undefined)
    return { partition: first.partition, offset: first.offset, timestamp, duplicate: true }
  return { partition: written.partition, offset: written.baseOffset + index, timestamp, duplicate: false }
}

const timedOut = (): MillraceError =>
  new MillraceError('TIMEOUT', {
    message: 'records before those to be acknowledged were not finished in time',
    outcome: 'notWritten',
  })
