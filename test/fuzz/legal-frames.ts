import { gzipSync } from 'node:zlib'
import { crc32 } from '#crc32'
import { hexFromBytes, type MemberId, type RequestId, type TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { EMPTY_TOPIC_OPTIONS_PATCH } from '../../protocol/topic-options.js'
import { SeededRandom } from '../support/seeded-random.js'

/** A membership, and what it has of one partition. */
export interface Held {
  readonly group: string
  readonly groupId: number
  readonly memberId: MemberId
  readonly topicId: TopicId
  readonly partition: number
  /** Of the assignment, or 0. */
  readonly epoch: number
  /** 0 of a consumer group. */
  readonly leaseId: number
}

/** What there is for frames to be about. */
export interface World {
  readonly name: string
  /** The first has two partitions of text, the second one of bytes. */
  readonly topics: readonly { readonly name: string; readonly topicId: TopicId }[]
  readonly consumer: Held
  readonly queue: Held
  readonly producer: { readonly producerId: number; readonly producerEpoch: number }
}

/** A batch whose every record names it, so that it can be told where it ended up. */
export function markedBatch(mark: string, options: { records: number; textual: boolean; gzip?: boolean }) {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < options.records; i++) {
    const text = `${mark} ${i}`
    const value = options.textual ? text : Buffer.from(text)
    builder.append({
      key: null,
      value,
      timestamp: 1_700_000_000_000 + i,
      headers: i === 1 ? { h: 'v' } : null,
    })
  }
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const stored = options.gzip === true ? new Uint8Array(gzipSync(payload)) : payload.slice()
  return {
    attributes: options.gzip === true ? 1 : 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(stored),
    payload: stored,
  }
}

const NO_MORE = { expectedOffset: null, idBitmap: null, ids: null }

/** One legal frame of each kind that a client sends, the same for the same seed. */
export function legalFrame(options: {
  kind: number
  seed: number
  correlationId: number
  world: World
}): unknown[] {
  const { kind, seed, correlationId, world } = options
  const random = new SeededRandom(seed)
  const requestId = hexFromBytes(random.bytes(16)) as RequestId
  const isFirst = random.chance(0.7)
  const topic = world.topics[isFirst ? 0 : 1] as World['topics'][number]
  const { topicId } = topic
  const partition = isFirst ? random.below(2) : 0
  const { consumer, queue, producer } = world
  const membership = ({ groupId, memberId }: Held) => ({ groupId, memberId })
  const batch = markedBatch(`${world.name} ${correlationId}`, {
    records: 1 + random.below(4),
    textual: isFirst,
    gzip: random.chance(0.2),
  })
  const range = { from: random.below(2), to: 2 }
  const isNamed = random.chance(0.3)
  const sequence = isNamed
    ? { ...producer, baseSequence: 0 }
    : { producerId: null, producerEpoch: 0, baseSequence: 0 }
  const ids = { idBitmap: Uint8Array.of(1), ids: random.bytes(16) }
  const join = {
    correlationId,
    ifNoCursor: 'earliest' as const,
    attempt: 2,
    sessionTimeoutMs: 5_000,
    topicIds: [topicId],
  }
  const makers: readonly (() => unknown[])[] = [
    () => messages.produce.write({ correlationId, topicId, partition, ...sequence, ...batch }),
    () => messages.produce.write({ correlationId, topicId, partition, ...sequence, ...batch }),
    () =>
      messages.produceChecked.write({
        correlationId,
        topicId,
        partition,
        ...sequence,
        ...NO_MORE,
        ...ids,
        ...batch,
      }),
    () =>
      messages.atomic.write({
        correlationId,
        requestId,
        writes: [
          { topicId, partition, ...NO_MORE, ...batch },
          { topicId, partition, ...NO_MORE, ...ids, ...batch },
        ],
        acks: random.chance(0.5)
          ? [{ ...membership(consumer), ...partOf(consumer), epoch: consumer.epoch, offset: 1 }]
          : [],
        jobs: random.chance(0.3)
          ? [{ ...membership(queue), ...partOf(queue), leaseId: queue.leaseId, ranges: [range] }]
          : [],
      }),
    () =>
      messages.fetch.write({
        correlationId,
        topicId,
        partition,
        offset: 0,
        minBytes: 1,
        maxBytes: 5_000,
        maxWaitMs: 5,
      }),
    () =>
      messages.subscribe.write({
        correlationId,
        subscriptionId: random.below(4),
        topicId,
        partition,
        offset: 0,
        creditBytes: 10_000,
      }),
    () => messages.credit.write({ subscriptionId: random.below(4), bytes: 1_000 }),
    () => messages.unsubscribe.write({ correlationId, subscriptionId: random.below(4) }),
    () =>
      messages.listOffsets.write({
        correlationId,
        topicId,
        queries: [{ partition, at: random.below(3), time: 1 }],
      }),
    () =>
      messages.metadata.write({
        correlationId,
        names: random.chance(0.5) ? [topic.name] : null,
        after: null,
        limit: 2,
      }),
    () => messages.ping.write({ correlationId }),
    () =>
      messages.hello.write({
        correlationId,
        minVersion: 1,
        maxVersion: 1,
        clientName: 'f',
        credential: null,
        features: ['groups'],
      }),
    () =>
      messages.createTopic.write({
        correlationId,
        requestId,
        name: `${world.name}-${random.below(3)}`,
        partitions: 2,
        keyEncoding: 'text',
        valueEncoding: 'json',
        ifMissing: true,
        options: EMPTY_TOPIC_OPTIONS_PATCH,
      }),
    () => messages.deleteTopic.write({ correlationId, requestId, name: `${world.name}-${random.below(3)}` }),
    () =>
      messages.alterTopic.write({
        correlationId,
        requestId,
        name: topic.name,
        options: { ...EMPTY_TOPIC_OPTIONS_PATCH, maxBytes: 1_000_000 },
        clear: ['maxAgeMs'],
      }),
    () =>
      messages.deleteBefore.write({ correlationId, requestId, topicId, partition, offset: random.below(3) }),
    () =>
      messages.initProducer.write({
        correlationId,
        requestId,
        name: random.chance(0.5) ? `${world.name}-p` : null,
      }),
    () =>
      messages.ack.write({
        correlationId,
        ...membership(consumer),
        acks: [{ ...partOf(consumer), epoch: consumer.epoch, offset: random.below(4) }],
      }),
    () =>
      messages.queueSettle.write({
        correlationId,
        ...membership(queue),
        items: [
          {
            kind: random.pick(['ack', 'nack', 'extend', 'release'] as const),
            ...partOf(queue),
            leaseId: queue.leaseId,
            ...range,
            ms: 1_000,
            reason: 'why',
          },
        ],
      }),
    () =>
      messages.queueStarted.write({
        ...membership(queue),
        ...partOf(queue),
        leaseId: queue.leaseId,
        ranges: [range],
      }),
    () => messages.queueCredit.write({ ...membership(queue), records: 3 }),
    () =>
      messages.groupRevoked.write({
        ...membership(consumer),
        epoch: consumer.epoch,
        parts: [partOf(consumer)],
      }),
    () =>
      messages.joinGroup.write({
        ...join,
        group: consumer.group,
        kind: 'consumer',
        memberId: consumer.memberId,
        leaseMs: 0,
        maxDeliveries: 0,
        prefetch: 0,
        heldLeases: [],
        held: [{ ...partOf(consumer), epoch: consumer.epoch }],
      }),
    () =>
      messages.joinGroup.write({
        ...join,
        group: queue.group,
        kind: 'queue',
        memberId: queue.memberId,
        leaseMs: 2_000,
        maxDeliveries: 2,
        prefetch: 2,
        held: [],
        heldLeases: [{ ...partOf(queue), leaseId: queue.leaseId, started: [range] }],
      }),
    () => messages.leaveGroup.write({ correlationId, ...membership(random.chance(0.5) ? consumer : queue) }),
    () => messages.listGroups.write({ correlationId, after: null, limit: 3 }),
    () =>
      messages.describeGroup.write({
        correlationId,
        name: consumer.group,
        topicId: random.chance(0.5) ? topicId : null,
      }),
    () =>
      messages.resetCursors.write({
        correlationId,
        requestId,
        group: consumer.group,
        topicId,
        partitions: [0],
        to: 'offset',
        value: 1,
        dryRun: false,
        create: true,
      }),
    () => messages.deleteGroup.write({ correlationId, requestId, group: queue.group, topicId: null }),
    () =>
      messages.deadLetter.write({
        correlationId,
        requestId,
        ...membership(consumer),
        ...partOf(consumer),
        epoch: consumer.epoch,
        offset: 1,
        cursor: 2,
        count: 3,
        reason: 'why',
      }),
    () => messages.dlqReplay.write({ correlationId, requestId, topicId, group: consumer.group, max: 5 }),
    () => messages.dlqPurge.write({ correlationId, requestId, topicId, group: consumer.group }),
  ]
  return (makers[kind % makers.length] as () => unknown[])()
}

const partOf = ({ topicId, partition }: Held) => ({ topicId, partition })
