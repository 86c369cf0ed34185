import { queueAt, touch } from './apply-groups.js'
import type { QueueMoved } from './command-codec/queues.js'
import type { ShardState } from './state.js'

export function moveQueue(state: ShardState, command: QueueMoved, time: number): void {
  const { groupId, topicId, partition, floor0 } = command
  const group = state.groups.get(groupId)
  // Deleted by a change of the same group.
  if (group?.kind !== 'queue' || state.partition(topicId, partition) === undefined) return
  const queue = queueAt(state, group, { topicId, partition, floor: floor0 })
  queue.apply(command, time)
  state.overlay.changeQueue(queue)
  touch(state, group, time)
}
