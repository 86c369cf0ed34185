import { liveGroup } from './ack-check.js'
import type { Decision } from './change.js'
import { claim, NUMBER_OF_CURSORS, queueClaim } from './claims.js'
import type { QueueMoved } from './command-codec/queues.js'
import { knownPartition, placeIn } from './group-lookups.js'
import type { QueuePlace } from './group-requests.js'
import { QUEUE_REASON } from './queue-state.js'
import { startClaim } from './start-move.js'
import { partitionKey, type ShardState } from './state.js'

/**
 * Makes those of the queues that a group lacks, in one record. Those that are there are claimed all the same: one that is
 * going with this WAL group is made anew with the next. Throws UNKNOWN_GROUP, GROUP_KIND_CONFLICT, UNKNOWN_TOPIC,
 * UNKNOWN_PARTITION, and what `checkRoom` throws.
 */
export function openQueues(
  state: ShardState,
  opening: { readonly groupId: number; readonly places: readonly QueuePlace[] },
  at: { readonly claimed: Set<string>; readonly checkRoom: (added: number) => void },
): Decision<void> | undefined {
  const { groupId, places } = opening
  const { claimed, checkRoom } = at
  if (!claim(claimed, ...places.map((place) => queueClaim(groupId, place)))) return undefined
  const group = liveGroup(state, groupId, 'queue')
  const found = places.map((place) => ({ place, partition: knownPartition(state, place) }))
  const missing = found.filter(({ place }) => !group.queues.has(partitionKey(place)))
  if (missing.length === 0) return { commands: [], result: undefined }
  // A deletion that is being written would leave a new place below the start.
  if (missing.some(({ place }) => claimed.has(startClaim(place)))) return undefined
  if (!claim(claimed, NUMBER_OF_CURSORS)) return undefined
  checkRoom(missing.length)
  const commands = missing.map(({ place: { topicId, partition: number, ifNoCursor }, partition }) =>
    newQueue({ groupId, topicId, partition: number }, placeIn(partition, ifNoCursor)),
  )
  return { commands, result: undefined }
}

/** A move that does nothing but make the queue. */
const newQueue = (at: Pick<QueueMoved, 'groupId' | 'topicId' | 'partition'>, floor: number): QueueMoved => ({
  type: 'queueMoved',
  ...at,
  floor0: floor,
  frontier: floor,
  nextLeaseId: 1,
  claims: [],
  acked: [],
  returned: [],
  extended: [],
  reason: QUEUE_REASON.settled,
})
