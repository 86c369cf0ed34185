import { groupsListed, listGroups } from '../../../protocol/messages/group-admin.js'
import { handler } from './handler.js'

export const listGroupsHandler = handler(listGroups, (session, { correlationId, ...request }) => {
  session.reply(groupsListed, { correlationId, ...session.groups.list(request) })
  return undefined
})
