import { alterTopic, topicAltered } from '../../../protocol/messages/topic-admin.js'
import { handler } from './handler.js'

export const alterTopicHandler = handler(
  alterTopic,
  async (session, request) => {
    const { options } = await session.shard.alterTopic(request)
    session.reply(topicAltered, { correlationId: request.correlationId, options })
  },
  { isRefusedInDrain: true },
)
