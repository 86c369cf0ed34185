import { initProducer, producerReady } from '../../../protocol/messages/produce.js'
import { handler } from './handler.js'

export const initProducerHandler = handler(
  initProducer,
  async (session, request) => {
    const { producerId, producerEpoch } = await session.shard.initProducer(request)
    session.reply(producerReady, { correlationId: request.correlationId, producerId, producerEpoch })
  },
  { isRefusedInDrain: true },
)
