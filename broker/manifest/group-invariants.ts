import { fail } from './corruption.js'
import type { CursorKey, GroupRow, ManifestContents, PartitionRow, QueueRow, ShardRow } from './rows.js'

/** What must hold of groups, cursors and queues. Throws ManifestCorruption for the first thing that does not. */
export function checkGroups(contents: ManifestContents, shard: ShardRow): void {
  const groups = groupsById(contents, shard)
  if (contents.cursors.length === 0 && contents.queues.length === 0) return
  const partitions = new Map(contents.partitions.map((row) => [partitionOf(row), row]))
  for (const row of contents.cursors) {
    const group = ownerOf('cursor', row, groups)
    if (group.kind !== 'consumer') fail('cursor', nameOf(row), 'its group is a work queue')
    const { endOffset } = placeOf('cursor', row, partitions)
    if (row.offset > endOffset)
      fail('cursor', nameOf(row), `it is at offset ${row.offset}, behind the end ${endOffset}`)
    if (row.ownerEpoch > group.epoch)
      fail('cursor', nameOf(row), `its owner has the epoch ${row.ownerEpoch}, and the group ${group.epoch}`)
  }
  for (const row of contents.queues) {
    const group = ownerOf('queue', row, groups)
    if (group.kind !== 'queue') fail('queue', nameOf(row), 'its group is a consumer group')
    const { endOffset } = placeOf('queue', row, partitions)
    const fault = queueFault(row, endOffset)
    if (fault !== undefined) fail('queue', nameOf(row), fault)
  }
}

const partitionOf = (row: { topicId: string; partition: number }): string => `${row.topicId}/${row.partition}`
const nameOf = (row: CursorKey): string => `${row.groupId}/${partitionOf(row)}`

function groupsById({ groups }: ManifestContents, shard: ShardRow): Map<number, GroupRow> {
  const byId = new Map<number, GroupRow>()
  const names = new Set<string>()
  for (const row of groups) {
    if (row.groupId >= shard.nextGroupId) fail('group', `${row.groupId}`, 'its id was never given out')
    if (names.has(row.name)) fail('group', `${row.groupId}`, `a second group is named "${row.name}"`)
    names.add(row.name)
    byId.set(row.groupId, row)
  }
  return byId
}

function ownerOf(keyspace: string, row: CursorKey, groups: ReadonlyMap<number, GroupRow>): GroupRow {
  const group = groups.get(row.groupId)
  return group ?? fail(keyspace, nameOf(row), 'its group is missing')
}

function placeOf(
  keyspace: string,
  row: CursorKey,
  partitions: ReadonlyMap<string, PartitionRow>,
): PartitionRow {
  const partition = partitions.get(partitionOf(row))
  return partition ?? fail(keyspace, nameOf(row), 'its partition is missing')
}

/** Ranges cover what lies from floor to frontier, without a hole, and what is done in front of them is below the floor. */
function queueFault(
  { floor, frontier, nextLeaseId, ranges }: QueueRow,
  endOffset: number,
): string | undefined {
  if (floor > frontier || frontier > endOffset)
    return `its offsets are not in order: floor ${floor}, frontier ${frontier}, end ${endOffset}`
  let next = floor
  for (const { from, to, leaseId } of ranges) {
    if (from !== next || to <= from) return `its ranges do not follow one another at offset ${next}`
    if (leaseId >= nextLeaseId) return `the lease ${leaseId} was never given out`
    next = to
  }
  if (next !== frontier) return `its ranges end at offset ${next}, and the frontier is ${frontier}`
  return ranges[0]?.kind === 0 ? 'its first range is done' : undefined
}
