import { cursorsReset, resetCursors } from '../../../protocol/messages/group-admin.js'
import { handler } from './handler.js'

export const resetCursorsHandler = handler(
  resetCursors,
  async (session, { correlationId, ...request }) => {
    session.reply(cursorsReset, { correlationId, ...(await session.groups.reset(request)) })
  },
  { isRefusedInDrain: true },
)
