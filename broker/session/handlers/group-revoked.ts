import { groupRevoked } from '../../../protocol/messages/group.js'
import { handler } from './handler.js'

export const groupRevokedHandler = handler(groupRevoked, (session, revoked) => {
  session.groups.revoked(revoked)
  return undefined
})
