import { dlqReplay, dlqReplayed } from '../../../protocol/messages/dead-letter.js'
import { handler } from './handler.js'

export const dlqReplayHandler = handler(
  dlqReplay,
  async (session, { correlationId, ...request }) => {
    const { replayed, left } = await session.groups.dlqReplay(request)
    session.reply(dlqReplayed, { correlationId, replayed, left })
  },
  { isRefusedInDrain: true },
)
