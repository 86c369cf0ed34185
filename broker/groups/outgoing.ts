import type { MemberId } from '../../protocol/ids.js'
import type { AssignedPart } from '../../protocol/messages/group.js'
import type { PartitionName } from '../shard/state.js'

/** What one step has to say to one member. */
export interface Outgoing {
  readonly assigned: AssignedPart[]
  readonly revoked: PartitionName[]
}

/** What is to be said to a member: nothing yet, as a rule. */
export function outgoingTo(outgoing: Map<MemberId, Outgoing>, memberId: MemberId): Outgoing {
  let one = outgoing.get(memberId)
  if (one === undefined) {
    one = { assigned: [], revoked: [] }
    outgoing.set(memberId, one)
  }
  return one
}
