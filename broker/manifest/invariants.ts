import { fail } from './corruption.js'
import { checkGroups } from './group-invariants.js'
import type {
  AnswerRow,
  ChunkRow,
  ManifestContents,
  PartitionRow,
  RequestRow,
  SectionRow,
  ShardRow,
} from './rows.js'
import { DEDUP_HASH_BYTES, DEDUP_PAGE_IDS, KEYSPACES, ROW_KINDS } from './schema.js'
import { checkStreams } from './stream-invariants.js'

/**
 * What must hold across rows. Each row's CRC shows a changed row; these checks show rows that are missing, back from
 * the past or contradict each other. Throws ManifestCorruption for the first one.
 */
export function checkInvariants(contents: ManifestContents): void {
  const { shard } = contents
  if (!shard) {
    const kind = ROW_KINDS.find((each) => contents[each].length > 0)
    if (kind) fail(KEYSPACES[kind].name, '', 'there are such rows, but the row of the shard is missing')
    return
  }
  checkCounts(contents, shard)
  const partitionsOf = checkTopics(contents)
  checkPartitions(contents, shard, partitionsOf)
  checkChunks(contents)
  checkProducers(contents, shard, partitionsOf)
  checkRequests(contents, shard)
  checkGroups(contents, shard)
  checkDedup(contents)
  checkStreams(contents, shard)
}

const nameOf = (row: { topicId: string; partition: number }): string => `${row.topicId}/${row.partition}`

function checkCounts(contents: ManifestContents, shard: ShardRow): void {
  for (const kind of ROW_KINDS) {
    const found = contents[kind].length
    const written = shard.counts[kind]
    if (found !== written)
      fail(KEYSPACES[kind].name, '', `${found} rows were found where ${written} were written`)
  }
}

/** Partition counts by topic. */
function checkTopics({ topics, partitions }: ManifestContents): Map<string, number> {
  const names = new Set<string>()
  const partitionsOf = new Map<string, number>()
  let expected = 0
  for (const topic of topics) {
    if (names.has(topic.name)) fail('topic', topic.topicId, `a second topic is named "${topic.name}"`)
    names.add(topic.name)
    partitionsOf.set(topic.topicId, topic.partitions)
    expected += topic.partitions
  }
  if (partitions.length !== expected) {
    fail('partition', '', `the topics have ${expected} partitions, but ${partitions.length} rows were found`)
  }
  return partitionsOf
}

function checkPartitions(
  { partitions }: ManifestContents,
  shard: ShardRow,
  partitionsOf: ReadonlyMap<string, number>,
): void {
  for (const row of partitions) {
    checkOwner('partition', row, partitionsOf)
    if (row.startOffset > row.endOffset || row.sealedEnd > row.endOffset) {
      const { startOffset, sealedEnd, endOffset } = row
      fail(
        'partition',
        nameOf(row),
        `its offsets are not in order: start ${startOffset}, sealed ${sealedEnd}, end ${endOffset}`,
      )
    }
    if (row.lastAppendTime > shard.time)
      fail('partition', nameOf(row), "its last append is later than the shard's time")
  }
}

function checkOwner(
  keyspace: string,
  row: { topicId: string; partition: number },
  partitionsOf: ReadonlyMap<string, number>,
): void {
  const count = partitionsOf.get(row.topicId)
  if (count === undefined) fail(keyspace, nameOf(row), 'its topic is missing')
  if (row.partition >= count) fail(keyspace, nameOf(row), `its topic has only ${count} partitions`)
}

/** Both lists come sorted by topic and partition, the chunks of a partition by base offset: one walk does. */
function checkChunks({ chunks, partitions }: ManifestContents): void {
  let next = 0
  for (const partition of partitions) {
    const first = isOf(chunks[next], partition) ? (chunks[next] as ChunkRow).section : undefined
    let last: SectionRow | undefined
    for (; isOf(chunks[next], partition); next++) {
      const { section } = chunks[next] as ChunkRow
      const fault = sectionFault(section, last)
      if (fault) fail('chunk', nameOf(partition), `the chunk at offset ${section.baseOffset} ${fault}`)
      last = section
    }
    const { startOffset, sealedEnd } = partition
    if (last === undefined && startOffset < sealedEnd) {
      fail(
        'chunk',
        nameOf(partition),
        `offsets ${startOffset} to ${sealedEnd} are sealed, but no chunk holds them`,
      )
    }
    if (first !== undefined && first.endOffset <= startOffset) {
      fail(
        'chunk',
        nameOf(partition),
        `the chunk at offset ${first.baseOffset} holds nothing that may be read: the start is ${startOffset}`,
      )
    }
    if (last !== undefined && last.endOffset !== sealedEnd) {
      fail(
        'chunk',
        nameOf(partition),
        `the chunks end at offset ${last.endOffset}, the sealed part at ${sealedEnd}`,
      )
    }
  }
  const stray = chunks[next]
  if (stray) fail('chunk', nameOf(stray), 'its partition is missing')
}

const isOf = (chunk: ChunkRow | undefined, { topicId, partition }: PartitionRow): boolean =>
  chunk !== undefined && chunk.partition === partition && chunk.topicId === topicId

function sectionFault(section: SectionRow, before: SectionRow | undefined): string | undefined {
  if (section.baseOffset >= section.endOffset) return 'holds no offsets'
  if (section.byteStart >= section.byteEnd || section.indexStart < section.byteEnd) return 'has no bytes'
  if (before && before.endOffset > section.baseOffset) return 'begins before the one before it ends'
  return undefined
}

function checkProducers(
  { producerNames, producers }: ManifestContents,
  shard: ShardRow,
  partitionsOf: ReadonlyMap<string, number>,
): void {
  const ids = new Set<number>()
  for (const { name, producerId } of producerNames) {
    if (producerId >= shard.nextProducerId)
      fail('producer name', name, `producer id ${producerId} was never given out`)
    if (ids.has(producerId)) fail('producer name', name, `producer id ${producerId} has two names`)
    ids.add(producerId)
  }
  for (const row of producers) {
    const name = `${row.producerId} in ${nameOf(row)}`
    checkOwner('producer', row, partitionsOf)
    if (row.producerId >= shard.nextProducerId) fail('producer', name, 'its producer id was never given out')
    let sequence = -1
    for (const { baseSequence, lastSequence } of row.batches) {
      if (baseSequence <= sequence || lastSequence < baseSequence)
        fail('producer', name, 'its sequences are not in order')
      sequence = lastSequence
    }
  }
}

function checkRequests({ requests, answers }: ManifestContents, shard: ShardRow): void {
  checkOrders('request', requests, shard.requestOrder)
  checkOrders('answer', answers, shard.answerOrder)
}

function checkOrders(keyspace: string, rows: readonly (RequestRow | AnswerRow)[], newest: number): void {
  const orders = new Set<number>()
  for (const { requestId, order } of rows) {
    if (order > newest) fail(keyspace, requestId, `its order ${order} was never given out`)
    if (orders.has(order)) fail(keyspace, requestId, `another ${keyspace} has the order ${order} too`)
    orders.add(order)
  }
}

/** Both lists come sorted by topic and start, the pages of a bucket by number. */
function checkDedup({ topics, dedupBuckets, dedupPages }: ManifestContents): void {
  const known = new Set(topics.map(({ topicId }) => topicId))
  let next = 0
  for (const { topicId, start, count } of dedupBuckets) {
    const name = `${topicId}/${start}`
    if (!known.has(topicId)) fail('dedup bucket', name, 'its topic is missing')
    let ids = 0
    for (let page = 0; ; page++, next++) {
      const row = dedupPages[next]
      if (row === undefined || row.topicId !== topicId || row.start !== start) break
      if (row.page !== page) fail('dedup page', `${name}/${row.page}`, `page ${page} before it is missing`)
      ids += row.slot === null ? row.hashes.length / DEDUP_HASH_BYTES : DEDUP_PAGE_IDS
    }
    if (ids !== count) fail('dedup bucket', name, `it has ${count} ids, and its pages hold ${ids}`)
  }
  const stray = dedupPages[next]
  if (stray) fail('dedup page', `${stray.topicId}/${stray.start}/${stray.page}`, 'its bucket is missing')
}
