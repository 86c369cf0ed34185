import { ack, acked } from '../../../protocol/messages/ack.js'
import { handler } from './handler.js'

/** Served while the broker drains: what is acknowledged now is not done twice. */
export const ackHandler = handler(ack, async (session, { correlationId, ...request }) => {
  const results = await session.groups.ack(request)
  session.reply(acked, { correlationId, results: [...results] })
})
