import { createTopic, topicCreated } from '../../../protocol/messages/topic.js'
import { handler } from './handler.js'

export const createTopicHandler = handler(
  createTopic,
  async (session, request) => {
    const { topic, created } = await session.shard.createTopic(request)
    session.reply(topicCreated, {
      correlationId: request.correlationId,
      topicId: topic.topicId,
      created,
      partitions: topic.partitions,
      keyEncoding: topic.keyEncoding,
      valueEncoding: topic.valueEncoding,
    })
  },
  { isRefusedInDrain: true },
)
