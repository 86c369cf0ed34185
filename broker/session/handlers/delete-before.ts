import { deleteBefore, recordsDeleted } from '../../../protocol/messages/topic-admin.js'
import { handler } from './handler.js'

export const deleteBeforeHandler = handler(
  deleteBefore,
  async (session, request) => {
    const deleted = await session.shard.deleteBefore(request)
    session.reply(recordsDeleted, { correlationId: request.correlationId, ...deleted })
  },
  { isRefusedInDrain: true },
)
