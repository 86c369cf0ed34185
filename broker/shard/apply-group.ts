import { AppendCommand } from './append-command.js'
import { applyAppend, applyCommand, beginGroup } from './apply.js'
import type { Command } from './commands.js'
import type { AppliedGroup } from './group-commit.js'
import type { Follower, PartitionState, ShardState } from './state.js'
import type { TailEntry } from './tail.js'

/** Applies a group that is on disk, and tells `indexed` of every entry that readers may find from now on. */
export function applyGroup(
  state: ShardState,
  { committed, commands }: AppliedGroup,
  indexed: (partition: PartitionState, entry: TailEntry) => void,
): void {
  beginGroup(state, committed.time)
  for (const [index, command] of commands.entries()) {
    if (command instanceof AppendCommand) {
      const { partitionState: partition, header } = command
      // Its topic was deleted by a change of this very group.
      if (state.partition(header.topicId, header.partition) !== partition) continue
      applyAppend(state, partition, header, command.section)
      const entry = entryOf(command, committed, committed.bodyStarts[index] as number)
      partition.tail.push(entry)
      indexed(partition, entry)
      continue
    }
    const moved = followersOf(state, command)
    applyCommand(state, command, committed.time)
    for (const wake of moved) queueMicrotask(wake)
  }
  state.applied = { sequence: committed.sequence, headerCrc: committed.headerCrc }
  state.time = committed.time
  if (commands.length > 0) state.overlay.touched = true
}

function entryOf(command: AppendCommand, committed: AppliedGroup['committed'], bodyStart: number): TailEntry {
  const { header } = command
  return {
    baseOffset: header.baseOffset,
    endOffset: header.baseOffset + header.lastOffsetDelta + 1,
    appendTime: header.appendTime,
    bytes: command.byteLength,
    sequence: committed.sequence,
    segment: committed.segment,
    position: committed.position + bodyStart,
    slab: committed.slab,
    slabPosition: committed.slabPosition + bodyStart,
  }
}

/** Those whose offsets will be gone, or their topic: they say so to whom they serve. */
function followersOf(state: ShardState, command: Command): readonly Follower[] {
  if (command.type === 'startMoved')
    return [...(state.partition(command.topicId, command.partition)?.followers ?? [])]
  if (command.type === 'streamDeleted' || (command.type === 'streamMoved' && command.closes))
    return [...(state.partition(command.topicId, 0)?.followers ?? [])]
  if (command.type !== 'topicDeleted') return []
  return state.topics.get(command.topicId)?.partitions.flatMap(({ followers }) => [...followers]) ?? []
}

/** Wakes those who wait for records of the group's partitions, each once. */
export function wakeFollowers({ commands }: AppliedGroup): void {
  const grown = new Set<PartitionState>()
  for (const command of commands) if (command instanceof AppendCommand) grown.add(command.partitionState)
  for (const partition of grown) for (const wake of partition.followers) wake()
}
