import type { Command } from '../../../broker/shard/commands.js'
import { clusterIdFrom, memberIdFrom, requestIdFrom, topicIdFrom } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'

const topicId = topicIdFrom('0123456789abcdef0123456789abcdef')
const requestId = requestIdFrom('feedfacefeedfacefeedfacefeedface')
const memberId = memberIdFrom('cafebabecafebabecafebabecafebabe')
const at = { topicId, partition: 3 }
const far = 2 ** 40 + 1

/** One of each command, with every field that may be nil both ways. On disk: append only. */
export const COMMAND_SAMPLES: readonly { readonly name: string; readonly command: Command }[] = [
  {
    name: 'a shard epoch',
    command: { type: 'shardEpochStarted', clusterId: clusterIdFrom('c1'.repeat(16)), shardEpoch: 7 },
  },
  {
    name: 'a topic with the default options',
    command: {
      type: 'topicCreated',
      topicId,
      name: 'orders',
      partitions: 4,
      keyEncoding: 'text',
      valueEncoding: 'json',
      requestId,
      options: DEFAULT_TOPIC_OPTIONS,
      internal: false,
    },
  },
  {
    name: 'an internal topic with options',
    command: {
      type: 'topicCreated',
      topicId,
      name: '_millrace.changes',
      partitions: 1,
      keyEncoding: 'text',
      valueEncoding: 'json',
      requestId,
      options: {
        maxAgeMs: 86_400_000,
        maxBytes: far,
        untilAcked: true,
        cursorIdleMs: 3_600_000,
        maxLagBytes: 1_000_000,
        onLag: 'drop',
        dedupWindowMs: 60_000,
      },
      internal: true,
    },
  },
  { name: 'a deleted topic', command: { type: 'topicDeleted', topicId, requestId } },
  {
    name: 'an altered topic',
    command: {
      type: 'topicAltered',
      topicId,
      options: { ...DEFAULT_TOPIC_OPTIONS, maxBytes: 1024 },
      requestId,
    },
  },
  {
    name: 'a topic altered for public caches',
    command: {
      type: 'topicAltered',
      topicId,
      options: { ...DEFAULT_TOPIC_OPTIONS, publicCache: true },
      requestId,
    },
  },
  {
    name: 'a start that somebody asked for',
    command: {
      type: 'startMoved',
      ...at,
      startOffset: far,
      sealedEnd: far - 1,
      reason: 'deleteBefore',
      requestId,
    },
  },
  ...(['age', 'bytes', 'acked', 'lagDrop', 'deadLetters'] as const).map((reason) => ({
    name: `a start moved by ${reason}`,
    command: { type: 'startMoved' as const, ...at, startOffset: 9, sealedEnd: 9, reason, requestId: null },
  })),
  { name: 'reserved producer ids', command: { type: 'producerIdsReserved', below: 2001 } },
  {
    name: 'a named producer',
    command: { type: 'producerRegistered', name: 'shop ä', producerId: 17, producerEpoch: 2, requestId },
  },
  {
    name: 'expired producers',
    command: { type: 'producersExpired', windows: [{ producerId: 17, ...at }] },
  },
  {
    name: 'a batch of duplicates alone',
    command: {
      type: 'producerAdvanced',
      producerId: 17,
      producerEpoch: 2,
      ...at,
      baseSequence: 40,
      recordCount: 5,
      baseOffset: far,
    },
  },
  { name: 'expired names', command: { type: 'producerNamesExpired', names: ['shop ä', 'b'] } },
  {
    name: 'a chunk of one partition',
    command: {
      type: 'chunkSealed',
      chunkId: 2 ** 32 + 5,
      rows: [
        {
          ...at,
          chunkId: 2 ** 32 + 5,
          section: {
            baseOffset: 100,
            endOffset: 200,
            byteStart: 64,
            byteEnd: 8_000,
            indexStart: 8_000,
            indexBytes: 48,
            recordCount: 100,
            minAppendTime: 1_700_000_000_000,
            maxAppendTime: 1_700_000_000_500,
            digest: 'd'.repeat(32),
          },
        },
      ],
    },
  },
  {
    name: 'a consumer group',
    command: { type: 'groupCreated', groupId: 1, name: 'billing', kind: 'consumer', queue: null, requestId },
  },
  {
    name: 'a work queue',
    command: {
      type: 'groupCreated',
      groupId: 2,
      name: 'mail',
      kind: 'queue',
      queue: { leaseMs: 30_000, maxDeliveries: 5 },
      requestId: null,
    },
  },
  {
    name: 'an assignment',
    command: {
      type: 'groupAssigned',
      groupId: 1,
      epoch: 8,
      moves: [
        { ...at, memberId, newCursor: 0 },
        { topicId, partition: 4, memberId: null, newCursor: null },
      ],
    },
  },
  {
    name: 'moved cursors',
    command: { type: 'cursorsMoved', groupId: 1, moves: [{ ...at, offset: far }] },
  },
  {
    name: 'reset cursors',
    command: { type: 'cursorsReset', groupId: 1, epoch: 9, moves: [{ ...at, offset: 5 }], requestId },
  },
  ...(['asked', 'idle', 'topicDeleted'] as const).map((reason) => ({
    name: `cursors deleted: ${reason}`,
    command: { type: 'cursorsDeleted' as const, groupId: 1, partitions: [at], reason },
  })),
  { name: 'a deleted group', command: { type: 'groupDeleted', groupId: 1, requestId } },
  { name: 'a group that went by itself', command: { type: 'groupDeleted', groupId: 1, requestId: null } },
  {
    name: 'a queue in which everything happens',
    command: {
      type: 'queueMoved',
      groupId: 2,
      ...at,
      floor0: 10,
      frontier: 50,
      nextLeaseId: 4,
      claims: [
        {
          leaseId: 3,
          memberId,
          deadline: 1_700_000_030_000,
          ranges: [
            { from: 10, to: 12 },
            { from: 40, to: 50 },
          ],
        },
      ],
      acked: [{ from: 12, to: 14 }],
      returned: [
        { from: 14, to: 15, visibleAt: 1_700_000_001_000, counted: true },
        { from: 15, to: 16, visibleAt: 0, counted: false },
      ],
      extended: [{ from: 16, to: 20, deadline: 1_700_000_060_000 }],
      reason: 1,
    },
  },
  {
    name: 'the answer of an atomic write',
    command: { type: 'answered', requestId, result: [[3, far, [[0, 1, 17]]], null] },
  },
  {
    name: 'a stream',
    command: {
      type: 'streamCreated',
      topicId,
      contentType: 'text/plain; charset=utf-8',
      ttlSeconds: null,
      expiresAt: '2026-01-31T12:00:00+01:00',
      closed: true,
      opened: true,
      fork: null,
    },
  },
  {
    name: 'a fork that lives for so long',
    command: {
      type: 'streamCreated',
      topicId,
      contentType: 'application/json',
      ttlSeconds: 3600,
      expiresAt: null,
      closed: false,
      opened: false,
      fork: {
        topicId: topicIdFrom('fedcba9876543210fedcba9876543210'),
        offset: 7,
        subOffset: 3,
        endOffset: far,
        endBytes: 12,
      },
    },
  },
  {
    name: 'the last write of a producer to a stream',
    command: {
      type: 'streamMoved',
      topicId,
      closes: true,
      opens: false,
      producer: { producerId: 'shop ä', epoch: 2, seq: far },
      seq: '0042',
      forgotten: ['a', 'b'],
    },
  },
  {
    name: 'the first write to a stream',
    command: {
      type: 'streamMoved',
      topicId,
      closes: false,
      opens: true,
      producer: null,
      seq: null,
      forgotten: [],
    },
  },
  {
    name: 'streams that were read',
    command: { type: 'streamsAccessed', accesses: [{ topicId, accessedAt: 1_700_000_000_000 }] },
  },
  { name: 'a stream that its forks alone keep', command: { type: 'streamDeleted', topicId, requestId } },
  {
    name: 'producers of streams that are forgotten',
    command: { type: 'streamProducersForgotten', producers: [{ topicId, producerId: 'shop ä' }] },
  },
]
