import { deleteGroup, groupDeleted } from '../../../protocol/messages/group-admin.js'
import { handler } from './handler.js'

export const deleteGroupHandler = handler(
  deleteGroup,
  async (session, { correlationId, ...request }) => {
    await session.groups.deleteGroup(request)
    session.reply(groupDeleted, { correlationId })
  },
  { isRefusedInDrain: true },
)
