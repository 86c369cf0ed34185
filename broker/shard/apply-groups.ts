import { answerRequest } from './apply-request.js'
import type {
  CursorMove,
  CursorsDeleted,
  CursorsMoved,
  CursorsReset,
  GroupAssigned,
  GroupCreated,
  GroupDeleted,
} from './command-codec/groups.js'
import { QueueState } from './queue-state.js'
import { CursorState, GroupState, type PartitionKeyText, partitionKey, type ShardState } from './state.js'

export function createGroup(state: ShardState, command: GroupCreated, time: number): void {
  const { groupId, name, kind, queue, requestId } = command
  if (!state.groups.has(groupId)) {
    const group = new GroupState({ groupId, name, kind, queue, epoch: 0, activeAt: time, createdAt: time })
    state.addGroup(group)
    state.nextGroupId = Math.max(state.nextGroupId, groupId + 1)
    state.overlay.groups.add(group)
  }
  answerRequest(state, requestId, { time, result: { groupId } })
}

export function assignGroup(state: ShardState, command: GroupAssigned, time: number): void {
  const group = state.groups.get(command.groupId)
  if (group === undefined) return
  group.epoch = command.epoch
  touch(state, group, time)
  for (const { topicId, partition, memberId, newCursor } of command.moves) {
    const owner = state.partition(topicId, partition)
    if (owner === undefined) continue
    const offset = newCursor ?? owner.startOffset
    const cursor = cursorAt(state, group, { topicId, partition, offset, movedAt: time })
    cursor.own(memberId, command.epoch)
    state.overlay.cursors.add(cursor)
  }
}

export function moveCursors(state: ShardState, { groupId, moves }: CursorsMoved, time: number): void {
  const group = state.groups.get(groupId)
  if (group === undefined) return
  for (const move of moves) {
    const cursor = group.cursors.get(partitionKey(move))
    if (cursor === undefined) continue
    cursor.move(move.offset, time)
    state.overlay.cursors.add(cursor)
  }
  touch(state, group, time)
}

export function resetCursors(state: ShardState, command: CursorsReset, time: number): void {
  const { groupId, epoch, moves, requestId } = command
  const group = state.groups.get(groupId)
  if (group !== undefined) {
    group.epoch = epoch
    touch(state, group, time)
    for (const move of moves) {
      if (state.partition(move.topicId, move.partition) === undefined) continue
      if (group.kind === 'queue') resetQueue(state, group, move, time)
      else resetCursor(state, group, move, time)
    }
  }
  answerRequest(state, requestId, { time, result: { groupId, moves } })
}

function resetCursor(state: ShardState, group: GroupState, move: CursorMove, time: number): void {
  const cursor = cursorAt(state, group, { ...move, movedAt: time })
  cursor.move(move.offset, time)
  cursor.own(null, group.epoch)
  state.overlay.cursors.add(cursor)
}

function resetQueue(state: ShardState, group: GroupState, move: CursorMove, time: number): void {
  const queue = queueAt(state, group, { ...move, floor: move.offset })
  queue.reset(move.offset, time)
  state.overlay.changeQueue(queue)
}

export function deleteCursors(state: ShardState, { groupId, partitions }: CursorsDeleted): void {
  const group = state.groups.get(groupId)
  if (group === undefined) return
  for (const partition of partitions) {
    dropCursor(state, group, partitionKey(partition))
    dropQueue(state, group, partitionKey(partition))
  }
}

export function deleteGroup(state: ShardState, { groupId, requestId }: GroupDeleted, time: number): void {
  const group = state.groups.get(groupId)
  if (group !== undefined) {
    for (const key of [...group.cursors.keys()]) dropCursor(state, group, key)
    for (const key of [...group.queues.keys()]) dropQueue(state, group, key)
    state.groups.delete(groupId)
    if (state.groupsByName.get(group.name) === group) state.groupsByName.delete(group.name)
    state.overlay.groups.delete(group)
    state.overlay.deletedGroups.push({ groupId })
  }
  answerRequest(state, requestId, { time, result: { groupId } })
}

export function touch(state: ShardState, group: GroupState, time: number): void {
  group.activeAt = time
  state.overlay.groups.add(group)
}

/** The group's cursor, made where it is wanted if there is none. */
function cursorAt(state: ShardState, group: GroupState, at: CursorMove & { movedAt: number }): CursorState {
  const known = group.cursors.get(partitionKey(at))
  if (known !== undefined) return known
  const cursor = new CursorState({ ...at, groupId: group.groupId }, at)
  state.addCursor(group, cursor)
  return cursor
}

/** The group's queue, made where it is wanted if there is none. */
export function queueAt(
  state: ShardState,
  group: GroupState,
  at: Omit<CursorMove, 'offset'> & { floor: number },
): QueueState {
  const known = group.queues.get(partitionKey(at))
  if (known !== undefined) return known
  const { topicId, partition, floor } = at
  const queue = new QueueState({ groupId: group.groupId, topicId, partition, floor })
  state.addQueue(group, queue)
  return queue
}

export function dropCursor(state: ShardState, group: GroupState, key: PartitionKeyText): void {
  const cursor = group.cursors.get(key)
  if (cursor === undefined) return
  group.cursors.delete(key)
  state.cursorCount--
  state.partition(cursor.topicId, cursor.partition)?.cursors.delete(cursor)
  // Whoever decides in the same group still holds it.
  cursor.own(null, cursor.ownerEpoch)
  state.overlay.cursors.delete(cursor)
  state.overlay.deletedCursors.push(cursor)
}

export function dropQueue(state: ShardState, group: GroupState, key: PartitionKeyText): void {
  const queue = group.queues.get(key)
  if (queue === undefined) return
  group.queues.delete(key)
  state.queueCount--
  state.partition(queue.topicId, queue.partition)?.cursors.delete(queue)
  state.overlay.deleteQueue(queue)
}
