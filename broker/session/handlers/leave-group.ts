import { groupLeft, leaveGroup } from '../../../protocol/messages/group.js'
import { handler } from './handler.js'

export const leaveGroupHandler = handler(leaveGroup, async (session, { correlationId, ...membership }) => {
  await session.groups.leave(membership)
  session.reply(groupLeft, { correlationId })
})
