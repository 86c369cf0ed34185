import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'

/** Throws LIMIT_REACHED unless a group with so many members may have one more. */
export function checkMembers(members: number): void {
  const { groupMembersMax } = HARD_LIMITS
  if (members < groupMembersMax) return
  throw new MillraceError('LIMIT_REACHED', {
    message: `the group has ${groupMembersMax} members, as many as are allowed`,
  })
}
