import { groupJoined, joinGroup } from '../../../protocol/messages/group.js'
import { handler } from './handler.js'

export const joinGroupHandler = handler(
  joinGroup,
  (session, { correlationId, ...join }) =>
    session.groups.join(join, (joined) => session.reply(groupJoined, { correlationId, ...joined })),
  { isRefusedInDrain: true },
)
