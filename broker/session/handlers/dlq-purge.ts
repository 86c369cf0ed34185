import { dlqPurge, dlqPurged } from '../../../protocol/messages/dead-letter.js'
import { handler } from './handler.js'

export const dlqPurgeHandler = handler(
  dlqPurge,
  async (session, { correlationId, ...request }) => {
    const { records } = await session.groups.dlqPurge(request)
    session.reply(dlqPurged, { correlationId, records })
  },
  { isRefusedInDrain: true },
)
