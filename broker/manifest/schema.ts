/**
 * The manifest's schema: every keyspace with its number, the fields of its key and the fields of its value. Numbers
 * and the order of fields are on disk: never renumbered, never reordered; a new field goes last.
 */
import { hexFromBytes } from '../../protocol/ids.js'
import { HARD_LIMITS, PRODUCER_WINDOW_BATCHES, STREAM_LIMITS } from '../../protocol/limits.js'
import { GROUP_KIND } from '../../protocol/messages/group.js'
import { FIELD, type RecordCursor } from '../../protocol/record-cursor.js'
import {
  bool,
  bytes,
  choice,
  encoding,
  type Fields,
  id,
  list,
  nullable,
  type Shape,
  text,
  tuple,
  uint,
  uint32,
} from '../../protocol/shape.js'
import { DEFAULT_TOPIC_OPTIONS, topicOptions } from '../../protocol/topic-options.js'
import { added } from './added.js'
import type { KeyField } from './key-codec.js'
import type { Keys, RowKind, Rows, SectionRow, ShardRow } from './rows.js'

type Flat = Record<string, unknown>

/** How the rows of one kind are written. */
export interface Keyspace<Row, Key> {
  readonly number: number
  /** For messages. */
  readonly name: string
  readonly keyFields: readonly KeyField[]
  /** The fields of the value, as a list. */
  readonly body: Shape<Flat>
  keyValues(key: Key): readonly unknown[]
  flat(row: Row): Flat
  /** Undoes `keyValues` and `flat`. */
  row(keyValues: readonly unknown[], flat: Flat): Row
  /**
   * What `body` would read at the cursor, several times as fast, for rows that come by the hundred thousand; undefined
   * where anything is not as usual, and `body` then says what.
   */
  readQuickly?(cursor: RecordCursor): Flat | undefined
}

interface Layout {
  readonly number: number
  readonly name: string
  readonly key: Readonly<Record<string, KeyField>>
  readonly body: Fields
}

/** A keyspace whose rows are their key's fields and their value's fields side by side. */
function keyspace<Row, Key>(layout: Layout): Keyspace<Row, Key> {
  const names = Object.keys(layout.key)
  return {
    number: layout.number,
    name: layout.name,
    keyFields: Object.values(layout.key),
    body: tuple(layout.body, layout.name),
    keyValues: (key) => names.map((name) => (key as Flat)[name]),
    flat: (row) => row as Flat,
    row: (keyValues, flat) => {
      for (let i = 0; i < names.length; i++) flat[names[i] as string] = keyValues[i]
      return flat as Row
    },
  }
}

/** MessagePack's own values, as they come. The form is the nearest that frames have. */
const anything: Shape<unknown> = {
  form: { kind: 'details' },
  expects: 'anything',
  read: (value) => value,
  write: (value) => value,
}

/** Far above what a queue is let grow to: only against nonsense. */
const QUEUE_RANGES_MAX = 10_000_000
/** Of one id in a page. */
export const DEDUP_HASH_BYTES = 16
const DEDUP_RUN_BYTES = 16
export const DEDUP_PAGE_IDS = 1024

const CHUNK_FIELDS = {
  endOffset: uint(),
  byteStart: uint(),
  byteEnd: uint(),
  indexStart: uint(),
  indexBytes: uint(),
  recordCount: uint(),
  minAppendTime: uint(),
  maxAppendTime: uint(),
  digest: id<string>(),
}

const chunksLayout = keyspace<Flat, Flat>({
  number: 5,
  name: 'chunk',
  key: { topicId: 'id', partition: 'u32', baseOffset: 'u64', chunkId: 'u64' },
  body: CHUNK_FIELDS,
})

const CHUNK_FIELD_COUNT = Object.keys(CHUNK_FIELDS).length

/** One object, with room for what comes from the key: no list of fields and no second look at each. */
function readChunk(cursor: RecordCursor): Flat | undefined {
  if (cursor.arrayLength() !== CHUNK_FIELD_COUNT) return undefined
  const section = {
    endOffset: cursor.integer(),
    byteStart: cursor.integer(),
    byteEnd: cursor.integer(),
    indexStart: cursor.integer(),
    indexBytes: cursor.integer(),
    recordCount: cursor.integer(),
    minAppendTime: cursor.integer(),
    maxAppendTime: cursor.integer(),
    digest: '',
    baseOffset: 0,
  }
  const { endOffset, byteStart, byteEnd, indexStart, indexBytes, recordCount } = section
  const areWhole = endOffset >= 0 && byteStart >= 0 && byteEnd >= 0 && indexStart >= 0 && indexBytes >= 0
  if (!areWhole || !(recordCount >= 0 && section.minAppendTime >= 0 && section.maxAppendTime >= 0))
    return undefined
  if (cursor.field() !== FIELD.bin || cursor.position - cursor.contentStart !== 16) return undefined
  if (cursor.position !== cursor.bytes.length) return undefined
  section.digest = hexFromBytes(cursor.bytes, cursor.contentStart)
  return section
}

/** By kind of row. Numbers 1 and 2 are the format and the shard, below. */
export const KEYSPACES: { readonly [Kind in RowKind]: Keyspace<Rows[Kind], Keys[Kind]> } = {
  topics: keyspace({
    number: 3,
    name: 'topic',
    key: { topicId: 'id' },
    body: {
      name: text(HARD_LIMITS.topicNameCharsMax),
      partitions: uint32(),
      keyEncoding: encoding(),
      valueEncoding: encoding(),
      createdAt: uint(),
      options: added(topicOptions, DEFAULT_TOPIC_OPTIONS),
      internal: added(bool(), false),
    },
  }),
  partitions: keyspace({
    number: 4,
    name: 'partition',
    key: { topicId: 'id', partition: 'u32' },
    body: { startOffset: uint(), sealedEnd: uint(), endOffset: uint(), lastAppendTime: uint() },
  }),
  chunks: {
    ...chunksLayout,
    keyValues: ({ topicId, partition, section, chunkId }) => [
      topicId,
      partition,
      section.baseOffset,
      chunkId,
    ],
    flat: (row) => row.section as unknown as Flat,
    readQuickly: readChunk,
    row: ([topicId, partition, baseOffset, chunkId], flat) => {
      flat.baseOffset = baseOffset
      return { topicId, partition, chunkId, section: flat as unknown as SectionRow } as Rows['chunks']
    },
  },
  producerNames: keyspace({
    number: 6,
    name: 'producer name',
    key: { name: 'text' },
    body: { producerId: uint(), producerEpoch: uint32(), lastSeen: uint() },
  }),
  producers: keyspace({
    number: 7,
    name: 'producer',
    key: { producerId: 'u64', topicId: 'id', partition: 'u32' },
    body: {
      producerEpoch: uint32(),
      lastSeen: uint(),
      batches: list(
        tuple({ baseSequence: uint(), lastSequence: uint(), baseOffset: uint(), appendTime: uint() }),
        PRODUCER_WINDOW_BATCHES,
      ),
    },
  }),
  requests: keyspace({
    number: 8,
    name: 'request',
    key: { requestId: 'id' },
    body: { order: uint(), time: uint(), result: anything },
  }),
  groups: keyspace({
    number: 9,
    name: 'group',
    key: { groupId: 'u32' },
    body: {
      name: text(HARD_LIMITS.topicNameCharsMax),
      kind: choice(GROUP_KIND),
      epoch: uint(),
      activeAt: uint(),
      createdAt: uint(),
      queue: nullable(tuple({ leaseMs: uint(), maxDeliveries: uint() })),
    },
  }),
  cursors: keyspace({
    number: 10,
    name: 'cursor',
    key: { groupId: 'u32', topicId: 'id', partition: 'u32' },
    body: { offset: uint(), ownerMember: nullable(id<string>()), ownerEpoch: uint(), movedAt: uint() },
  }),
  queues: keyspace({
    number: 11,
    name: 'queue',
    key: { groupId: 'u32', topicId: 'id', partition: 'u32' },
    body: {
      floor: uint(),
      frontier: uint(),
      nextLeaseId: uint(),
      movedAt: uint(),
      ranges: list(
        tuple({
          from: uint(),
          to: uint(),
          kind: uint(2),
          leaseId: uint(),
          memberId: nullable(id<string>()),
          time: uint(),
          count: uint(),
        }),
        QUEUE_RANGES_MAX,
      ),
    },
  }),
  dedupBuckets: keyspace({
    number: 12,
    name: 'dedup bucket',
    key: { topicId: 'id', start: 'u64' },
    body: { widthMs: uint(), count: uint() },
  }),
  dedupPages: keyspace({
    number: 13,
    name: 'dedup page',
    key: { topicId: 'id', start: 'u64', page: 'u32' },
    body: {
      hashes: bytes(DEDUP_PAGE_IDS * DEDUP_HASH_BYTES),
      runs: bytes(DEDUP_PAGE_IDS * DEDUP_RUN_BYTES),
      slot: nullable(uint()),
      crc: uint32(),
    },
  }),
  answers: keyspace({
    number: 14,
    name: 'answer',
    key: { requestId: 'id' },
    body: { order: uint(), time: uint(), result: anything },
  }),
  streams: keyspace({
    number: 15,
    name: 'stream',
    key: { topicId: 'id' },
    body: {
      contentType: text(STREAM_LIMITS.contentTypeCharsMax),
      ttlSeconds: nullable(uint()),
      expiresAt: nullable(text(STREAM_LIMITS.expiresAtCharsMax)),
      closed: bool(),
      closedBy: nullable(
        tuple({ producerId: text(STREAM_LIMITS.producerIdCharsMax), epoch: uint(), seq: uint() }),
      ),
      seq: nullable(text(STREAM_LIMITS.seqCharsMax)),
      accessedAt: uint(),
      opened: bool(),
      deleted: bool(),
      fork: nullable(
        tuple({
          topicId: id<string>(),
          offset: uint(),
          subOffset: uint(),
          endOffset: uint(),
          endBytes: uint(),
        }),
      ),
    },
  }),
  streamProducers: keyspace({
    number: 16,
    name: 'stream producer',
    key: { topicId: 'id', producerId: 'text' },
    body: { epoch: uint(), seq: uint(), lastSeen: uint() },
  }),
}

/** The version of the whole manifest. Its row is the first of all and reads the same in every version. */
export const FORMAT_KEYSPACE: Keyspace<{ format: number }, object> = keyspace({
  number: 1,
  name: 'format',
  key: {},
  body: { format: uint32() },
})

export const SHARD_KEYSPACE: Keyspace<ShardRow, object> = keyspace({
  number: 2,
  name: 'shard',
  key: {},
  body: {
    clusterId: id<string>(),
    walId: id<string>(),
    shardEpoch: uint(),
    applied: tuple({ sequence: uint(), headerCrc: uint32() }),
    replayFrom: uint(),
    time: uint(),
    nextProducerId: uint(),
    requestOrder: uint(),
    counts: tuple({
      topics: uint(),
      partitions: uint(),
      chunks: uint(),
      producerNames: uint(),
      producers: uint(),
      requests: uint(),
      groups: added(uint(), 0),
      cursors: added(uint(), 0),
      queues: added(uint(), 0),
      dedupBuckets: added(uint(), 0),
      dedupPages: added(uint(), 0),
      answers: added(uint(), 0),
      streams: added(uint(), 0),
      streamProducers: added(uint(), 0),
    }),
    nextGroupId: added(uint(), 1),
    answerOrder: added(uint(), 0),
  },
})

export const ROW_KINDS = Object.keys(KEYSPACES) as RowKind[]
