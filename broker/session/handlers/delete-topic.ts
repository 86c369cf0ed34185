import { deleteTopic, topicDeleted } from '../../../protocol/messages/topic.js'
import { handler } from './handler.js'

export const deleteTopicHandler = handler(
  deleteTopic,
  async (session, request) => {
    const { topicId } = await session.shard.deleteTopic(request)
    session.reply(topicDeleted, { correlationId: request.correlationId, topicId })
  },
  { isRefusedInDrain: true },
)
