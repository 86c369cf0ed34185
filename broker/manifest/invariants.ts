import { ManifestCorruption } from './corruption.js'
import type { ChunkRow, ManifestContents, PartitionRow, SectionRow, ShardRow } from './rows.js'
import { KEYSPACES, ROW_KINDS } from './schema.js'

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
}

function fail(keyspace: string, key: string, reason: string): never {
  throw new ManifestCorruption({ keyspace, key, reason })
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
    if (row.startOffset > row.sealedEnd || row.sealedEnd > row.endOffset) {
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
    let last: SectionRow | undefined
    for (; isOf(chunks[next], partition); next++) {
      const { section } = chunks[next] as ChunkRow
      const fault = sectionFault(section, last)
      if (fault) fail('chunk', nameOf(partition), `the chunk at offset ${section.baseOffset} ${fault}`)
      last = section
    }
    const { startOffset, sealedEnd } = partition
    if (last === undefined && startOffset !== sealedEnd) {
      fail(
        'chunk',
        nameOf(partition),
        `offsets ${startOffset} to ${sealedEnd} are sealed, but no chunk holds them`,
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

function checkRequests({ requests }: ManifestContents, shard: ShardRow): void {
  const orders = new Set<number>()
  for (const { requestId, order } of requests) {
    if (order > shard.requestOrder) fail('request', requestId, `its order ${order} was never given out`)
    if (orders.has(order)) fail('request', requestId, `another request has the order ${order} too`)
    orders.add(order)
  }
}
