import type { ManifestContents, RowCounts, ShardRow } from '../../../broker/manifest/rows.js'
import { ROW_KINDS } from '../../../broker/manifest/schema.js'
import { clusterIdFrom, memberIdFrom, requestIdFrom, topicIdFrom } from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'

export const topicIdOf = (number: number) => topicIdFrom(number.toString(16).padStart(32, 'a'))

/** Rows of every kind that fit together: topics of `partitions` partitions with `chunks` chunks each. */
export function someContents(size: { topics: number; partitions: number; chunks: number }): ManifestContents {
  const contents: Omit<ManifestContents, 'shard'> = {
    topics: [],
    partitions: [],
    chunks: [],
    producerNames: [],
    producers: [],
    requests: [],
    groups: [],
    cursors: [],
    queues: [],
    dedupBuckets: [],
    dedupPages: [],
    answers: [],
    streams: [],
    streamProducers: [],
  }
  for (let t = 0; t < size.topics; t++) {
    const topicId = topicIdOf(t)
    contents.topics.push({
      topicId,
      name: `topic-${t}`,
      partitions: size.partitions,
      keyEncoding: 'text',
      valueEncoding: 'json',
      createdAt: 1_700_000_000_000,
      options: { ...DEFAULT_TOPIC_OPTIONS, maxAgeMs: 86_400_000, onLag: 'drop' },
      internal: t === 1,
    })
    for (let partition = 0; partition < size.partitions; partition++) {
      const sealedEnd = 500 + size.chunks * 1_000
      contents.partitions.push({
        topicId,
        partition,
        startOffset: size.chunks === 0 ? sealedEnd : 600,
        sealedEnd,
        endOffset: sealedEnd + 7,
        lastAppendTime: 1_700_000_000_000,
      })
      for (let i = 0; i < size.chunks; i++) {
        contents.chunks.push({
          topicId,
          partition,
          chunkId: 2 ** 32 + i,
          section: {
            baseOffset: 500 + i * 1_000,
            endOffset: 1_500 + i * 1_000,
            byteStart: 64,
            byteEnd: 8_000_000,
            indexStart: 8_000_000,
            indexBytes: 3_104,
            recordCount: 1_000,
            minAppendTime: 1_700_000_000_000,
            maxAppendTime: 1_700_000_000_500,
            digest: (i + 1).toString(16).padStart(32, '0'),
          },
        })
      }
      contents.producers.push({
        producerId: t + 1,
        topicId,
        partition,
        producerEpoch: 2,
        lastSeen: 1_700_000_000_000,
        batches: [
          { baseSequence: 0, lastSequence: 9, baseOffset: 100, appendTime: 1_700_000_000_000 },
          { baseSequence: 10, lastSequence: 10, baseOffset: 110, appendTime: 1_700_000_000_001 },
        ],
      })
    }
    addGroups(contents, { t, partitions: size.partitions, endOffset: 507 + size.chunks * 1_000 })
    contents.dedupBuckets.push({ topicId, start: 1_700_000_000_000 + t, widthMs: 75_000, count: 5 })
    // Real pages hold 1024 ids each: the tests look at every byte.
    for (const [page, ids] of [3, 2].entries()) {
      const hashes = Buffer.alloc(ids * 16, page + 1)
      const runs = Buffer.alloc(16, page)
      contents.dedupPages.push({
        topicId,
        start: 1_700_000_000_000 + t,
        page,
        hashes,
        runs,
        slot: null,
        crc: 0,
      })
    }
    contents.answers.push({
      requestId: requestIdFrom((t + 1).toString(16).padStart(32, 'f')),
      order: t + 1,
      time: 1_700_000_000_000,
      result: [[0, 17, null]],
    })
    contents.producerNames.push({ name: `producer-${t} ä`, producerId: t + 1, producerEpoch: 2, lastSeen: 5 })
    contents.requests.push({
      requestId: requestIdFrom((t + 1).toString(16).padStart(32, '0')),
      order: t + 1,
      time: 1_700_000_000_000,
      result: { topicId, created: true, count: 2 ** 40, nothing: null },
    })
  }
  // Loaded producers sort by producer id, then topic: the order in which they were made here.
  const given = { nextGroupId: 2 * size.topics + 1, answerOrder: size.topics }
  return {
    ...contents,
    shard: shardRow(contents, { nextProducerId: size.topics + 1, requestOrder: size.topics, ...given }),
  }
}

/** A consumer group and a work queue on every partition of topic `t`. */
function addGroups(
  contents: Omit<ManifestContents, 'shard'>,
  { t, partitions, endOffset }: { t: number; partitions: number; endOffset: number },
): void {
  const topicId = topicIdOf(t)
  const memberId = memberIdFrom((t + 1).toString(16).padStart(32, 'e'))
  const common = { epoch: 4, activeAt: 1_700_000_000_100, createdAt: 1_700_000_000_000 }
  const consumers = 2 * t + 1
  const queue = { leaseMs: 30_000, maxDeliveries: 5 }
  contents.groups.push(
    { ...common, groupId: consumers, name: `billing-${t}`, kind: 'consumer', queue: null },
    { ...common, groupId: consumers + 1, name: `mail-${t}`, kind: 'queue', queue },
  )
  for (let partition = 0; partition < partitions; partition++) {
    const movedAt = 1_700_000_000_050
    const owner = partition === 0 ? { ownerMember: memberId } : { ownerMember: null }
    contents.cursors.push({
      groupId: consumers,
      topicId,
      partition,
      offset: endOffset - 1,
      ownerEpoch: 3,
      movedAt,
      ...owner,
    })
    const free = { leaseId: 0, memberId: null, time: 0, count: 0 }
    contents.queues.push({
      groupId: consumers + 1,
      topicId,
      partition,
      floor: endOffset - 7,
      frontier: endOffset - 1,
      nextLeaseId: 9,
      movedAt,
      ranges: [
        {
          from: endOffset - 7,
          to: endOffset - 5,
          kind: 1,
          leaseId: 8,
          memberId,
          time: 1_700_000_030_000,
          count: 1,
        },
        { ...free, from: endOffset - 5, to: endOffset - 4, kind: 0 },
        { ...free, from: endOffset - 4, to: endOffset - 1, kind: 2, time: 1_700_000_005_000, count: 2 },
      ],
    })
  }
}

export function countsOf(contents: Omit<ManifestContents, 'shard'>): RowCounts {
  return Object.fromEntries(ROW_KINDS.map((kind) => [kind, contents[kind].length])) as unknown as RowCounts
}

export function shardRow(contents: Omit<ManifestContents, 'shard'>, more: Partial<ShardRow> = {}): ShardRow {
  return {
    clusterId: clusterIdFrom('c1'.repeat(16)),
    walId: 'd2'.repeat(16),
    shardEpoch: 3,
    applied: { sequence: 2 ** 40 + 5, headerCrc: 0xfedcba98 },
    replayFrom: 2 ** 40,
    time: 1_700_000_000_600,
    nextProducerId: 1,
    requestOrder: 0,
    nextGroupId: 1,
    answerOrder: 0,
    counts: countsOf(contents),
    ...more,
  }
}

/** The changes that put all of the contents. */
export function putAll({ shard, ...put }: ManifestContents) {
  if (!shard) throw new Error('the contents have no shard row')
  return { shard, put }
}
