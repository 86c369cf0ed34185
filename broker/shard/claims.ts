/** What a change of the group that is being cut touches, by name: no second change of the same group touches it. */
import { type PartitionName, partitionKey } from './state.js'
import { isJobAck, type UnitAck } from './write-unit.js'

/** Takes the names for this group; false when another change of the group has one of them. */
export function claim(claimed: Set<string>, ...names: string[]): boolean {
  if (names.some((name) => claimed.has(name))) return false
  for (const name of names) claimed.add(name)
  return true
}

export const groupNameClaim = (name: string): string => `group name ${name}`

export const groupClaim = (groupId: number): string => `group ${groupId}`

/** One partition of a work queue. */
export const queueClaim = (groupId: number, at: PartitionName): string =>
  `queue ${groupId}/${partitionKey(at)}`

/** For a change that adds cursors or queues: each must see how many there are. */
export const NUMBER_OF_CURSORS = 'number of cursors'

/** For a change that gives out producer ids, or takes names away. */
export const PRODUCER_IDS = 'producer ids'

/** What a change touches that gives these acks. */
export function ackClaims(acks: readonly UnitAck[]): string[] {
  const names = acks.map((ack) => (isJobAck(ack) ? queueClaim(ack.groupId, ack) : groupClaim(ack.groupId)))
  return [...new Set(names)]
}
