/**
 * What the golden vectors are of. A sample may be added (UPDATE_GOLDEN=1 then writes its vector); one that is there is
 * never changed: its bytes are what released clients send and what disks hold.
 */
import { GROUP_FRAME_SAMPLES } from './group-frame-samples.js'
import { batch, CLUSTER, hex, limits, MAX, NOW, REQUEST, TOPIC, UINT32_MAX, utf8 } from './values.js'

export interface FrameSample {
  readonly name: string
  readonly message: string
  readonly fields: Record<string, unknown>
}

export const FRAME_SAMPLES: readonly FrameSample[] = [
  {
    name: 'HELLO of a plain client',
    message: 'HELLO',
    fields: {
      correlationId: 1,
      minVersion: 1,
      maxVersion: 1,
      clientName: 'x/1',
      credential: null,
      features: [],
    },
  },
  {
    name: 'HELLO with a credential and features',
    message: 'HELLO',
    fields: {
      correlationId: UINT32_MAX,
      minVersion: 1,
      maxVersion: 255,
      clientName: 'millrace-js/0.1.0 (größer als fixstr)',
      credential: utf8('secret'),
      features: ['a', 'bc'],
    },
  },
  {
    name: 'WELCOME',
    message: 'WELCOME',
    fields: {
      correlationId: 1,
      version: 1,
      clusterId: CLUSTER,
      shardEpoch: 7,
      brokerName: 'millrace/0.1.0',
      limits,
      features: [],
      time: NOW,
    },
  },
  {
    name: 'WELCOME with small limits and the largest times',
    message: 'WELCOME',
    fields: {
      correlationId: 128,
      version: 1,
      clusterId: CLUSTER,
      shardEpoch: UINT32_MAX,
      brokerName: '',
      limits: { ...limits, frameBytesMax: 1, recordBytesMax: 127, batchBytesMax: 128, inFlightBytesMax: MAX },
      features: ['a'],
      time: MAX,
    },
  },
  { name: 'PING', message: 'PING', fields: { correlationId: 7 } },
  { name: 'PING with the largest correlation id', message: 'PING', fields: { correlationId: UINT32_MAX } },
  { name: 'PONG', message: 'PONG', fields: { correlationId: 7 } },
  { name: 'PONG with a two-byte correlation id', message: 'PONG', fields: { correlationId: 256 } },
  {
    name: 'ERROR without details',
    message: 'ERROR',
    fields: {
      correlationId: 0,
      code: 'BAD_FRAME',
      message: 'not a frame: a frame must be an array',
      retriable: false,
      outcome: 0,
      retryAfterMs: null,
      details: null,
    },
  },
  {
    name: 'ERROR with everything',
    message: 'ERROR',
    fields: {
      correlationId: 12,
      code: 'BACKPRESSURE',
      message: 'später',
      retriable: true,
      outcome: 1,
      retryAfterMs: 250,
      details: { startOffset: 5, endOffset: 2 ** 40, leader: 'ws://127.0.0.1:4600', fatal: false },
    },
  },
  {
    name: 'GOING_AWAY',
    message: 'GOING_AWAY',
    fields: { reason: 'the broker restarts', deadlineMs: 10_000 },
  },
  { name: 'GOING_AWAY at once', message: 'GOING_AWAY', fields: { reason: '', deadlineMs: 0 } },
  {
    name: 'CREATE_TOPIC',
    message: 'CREATE_TOPIC',
    fields: {
      correlationId: 2,
      requestId: REQUEST,
      name: 'orders',
      partitions: 4,
      keyEncoding: 'text',
      valueEncoding: 'json',
      ifMissing: true,
    },
  },
  {
    name: 'CREATE_TOPIC with the other encodings',
    message: 'CREATE_TOPIC',
    fields: {
      correlationId: 2,
      requestId: REQUEST,
      name: 'a'.repeat(249),
      partitions: 10_000,
      keyEncoding: 'bytes',
      valueEncoding: 'msgpack',
      ifMissing: false,
    },
  },
  {
    name: 'TOPIC_CREATED',
    message: 'TOPIC_CREATED',
    fields: {
      correlationId: 2,
      topicId: TOPIC,
      created: true,
      partitions: 4,
      keyEncoding: 'text',
      valueEncoding: 'json',
    },
  },
  {
    name: 'TOPIC_CREATED for a topic that was there',
    message: 'TOPIC_CREATED',
    fields: {
      correlationId: 2,
      topicId: TOPIC,
      created: false,
      partitions: 300,
      keyEncoding: 'bytes',
      valueEncoding: 'msgpack',
    },
  },
  {
    name: 'DELETE_TOPIC',
    message: 'DELETE_TOPIC',
    fields: { correlationId: 3, requestId: REQUEST, name: 'orders' },
  },
  { name: 'TOPIC_DELETED', message: 'TOPIC_DELETED', fields: { correlationId: 3, topicId: TOPIC } },
  {
    name: 'METADATA of named topics',
    message: 'METADATA',
    fields: { correlationId: 4, names: ['orders', 'none'], after: null, limit: null },
  },
  {
    name: 'METADATA of all topics, a later page',
    message: 'METADATA',
    fields: { correlationId: 4, names: null, after: 'orders', limit: 100 },
  },
  {
    name: 'METADATA_LISTED',
    message: 'METADATA_LISTED',
    fields: {
      correlationId: 4,
      topics: [
        {
          name: 'orders',
          topicId: TOPIC,
          keyEncoding: 'text',
          valueEncoding: 'json',
          partitions: 4,
          createdAt: NOW,
        },
        {
          name: 'raw',
          topicId: REQUEST,
          keyEncoding: 'bytes',
          valueEncoding: 'msgpack',
          partitions: 1,
          createdAt: 0,
        },
      ],
      next: 'raw',
    },
  },
  {
    name: 'METADATA_LISTED of nothing',
    message: 'METADATA_LISTED',
    fields: { correlationId: 4, topics: [], next: null },
  },
  {
    name: 'INIT_PRODUCER with a name',
    message: 'INIT_PRODUCER',
    fields: { correlationId: 5, requestId: REQUEST, name: 'shop-1' },
  },
  {
    name: 'INIT_PRODUCER without a name',
    message: 'INIT_PRODUCER',
    fields: { correlationId: 5, requestId: REQUEST, name: null },
  },
  {
    name: 'PRODUCER_READY',
    message: 'PRODUCER_READY',
    fields: { correlationId: 5, producerId: 1, producerEpoch: 0 },
  },
  {
    name: 'PRODUCER_READY with the largest numbers',
    message: 'PRODUCER_READY',
    fields: { correlationId: 5, producerId: MAX, producerEpoch: UINT32_MAX },
  },
  {
    name: 'PRODUCE of an idempotent producer',
    message: 'PRODUCE',
    fields: { ...batch, producerId: 77, producerEpoch: 2, baseSequence: 1000 },
  },
  {
    name: 'PRODUCE without a producer id',
    message: 'PRODUCE',
    fields: { ...batch, producerId: null, producerEpoch: 0, baseSequence: 0 },
  },
  {
    name: 'PRODUCE with a payload of two-byte length and the largest numbers',
    message: 'PRODUCE',
    fields: {
      ...batch,
      correlationId: UINT32_MAX,
      partition: UINT32_MAX,
      producerId: MAX,
      producerEpoch: UINT32_MAX,
      baseSequence: MAX,
      attributes: 1,
      baseTimestamp: 0,
      recordCount: 1_000_000,
      inflatedBytes: UINT32_MAX,
      payloadCrc: 0,
      payload: new Uint8Array(256).map((_, i) => i),
    },
  },
  {
    name: 'PRODUCED with two acks',
    message: 'PRODUCED',
    fields: {
      acks: [
        { correlationId: 9, baseOffset: 0, appendTime: NOW, duplicate: false },
        { correlationId: 10, baseOffset: 2 ** 32, appendTime: NOW + 1, duplicate: true },
      ],
    },
  },
  {
    name: 'PRODUCED with one ack',
    message: 'PRODUCED',
    fields: { acks: [{ correlationId: 1, baseOffset: MAX, appendTime: 0, duplicate: false }] },
  },
  {
    name: 'FETCH',
    message: 'FETCH',
    fields: {
      correlationId: 6,
      topicId: TOPIC,
      partition: 0,
      offset: 100,
      minBytes: 1,
      maxBytes: 1 << 20,
      maxWaitMs: 500,
    },
  },
  {
    name: 'FETCH that does not wait',
    message: 'FETCH',
    fields: {
      correlationId: 6,
      topicId: TOPIC,
      partition: 3,
      offset: 2 ** 33,
      minBytes: 0,
      maxBytes: UINT32_MAX,
      maxWaitMs: 0,
    },
  },
  {
    name: 'FETCHED with bytes',
    message: 'FETCHED',
    fields: { correlationId: 6, startOffset: 0, durableEnd: 101, entries: hex('4d52455201000000') },
  },
  {
    name: 'FETCHED with nothing',
    message: 'FETCHED',
    fields: { correlationId: 6, startOffset: 50, durableEnd: 2 ** 35, entries: new Uint8Array(0) },
  },
  {
    name: 'SUBSCRIBE',
    message: 'SUBSCRIBE',
    fields: {
      correlationId: 7,
      subscriptionId: 1,
      topicId: TOPIC,
      partition: 2,
      offset: 0,
      creditBytes: 1 << 20,
    },
  },
  {
    name: 'SUBSCRIBE without credit',
    message: 'SUBSCRIBE',
    fields: {
      correlationId: 7,
      subscriptionId: UINT32_MAX,
      topicId: TOPIC,
      partition: 0,
      offset: MAX,
      creditBytes: 0,
    },
  },
  {
    name: 'SUBSCRIBED',
    message: 'SUBSCRIBED',
    fields: { correlationId: 7, subscriptionId: 1, startOffset: 0, durableEnd: 12 },
  },
  { name: 'CREDIT', message: 'CREDIT', fields: { subscriptionId: 1, bytes: 65_536 } },
  { name: 'CREDIT of the most', message: 'CREDIT', fields: { subscriptionId: 200, bytes: 256 << 20 } },
  {
    name: 'DELIVER',
    message: 'DELIVER',
    fields: { subscriptionId: 1, startOffset: 0, durableEnd: 12, entries: hex('4d52455201000000') },
  },
  {
    name: 'DELIVER of 1,100 bytes',
    message: 'DELIVER',
    fields: {
      subscriptionId: 1,
      startOffset: 2 ** 32,
      durableEnd: MAX,
      entries: new Uint8Array(1100).map((_, i) => i),
    },
  },
  { name: 'UNSUBSCRIBE', message: 'UNSUBSCRIBE', fields: { correlationId: 8, subscriptionId: 1 } },
  { name: 'UNSUBSCRIBED', message: 'UNSUBSCRIBED', fields: { correlationId: 8, subscriptionId: 1 } },
  {
    name: 'LIST_OFFSETS of every kind',
    message: 'LIST_OFFSETS',
    fields: {
      correlationId: 10,
      topicId: TOPIC,
      queries: [
        { partition: 0, at: 0, time: 0 },
        { partition: 1, at: 1, time: 0 },
        { partition: 300, at: 2, time: NOW },
      ],
    },
  },
  {
    name: 'OFFSETS_LISTED',
    message: 'OFFSETS_LISTED',
    fields: {
      correlationId: 10,
      offsets: [
        { partition: 0, offset: 5, startOffset: 5, durableEnd: 90 },
        { partition: 300, offset: 2 ** 40, startOffset: 0, durableEnd: 2 ** 40 },
      ],
    },
  },
  {
    name: 'SUBSCRIPTION_ENDED with details',
    message: 'SUBSCRIPTION_ENDED',
    fields: {
      subscriptionId: 1,
      code: 'OFFSET_OUT_OF_RANGE',
      message: 'offset 3 is below the start offset 5',
      retriable: false,
      details: { startOffset: 5, endOffset: 90 },
    },
  },
  {
    name: 'SUBSCRIPTION_ENDED without details',
    message: 'SUBSCRIPTION_ENDED',
    fields: { subscriptionId: 1, code: 'UNKNOWN_TOPIC', message: '', retriable: false, details: null },
  },
  ...GROUP_FRAME_SAMPLES,
]
