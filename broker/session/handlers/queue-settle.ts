import { queueSettle, queueSettled } from '../../../protocol/messages/queue.js'
import { handler } from './handler.js'

/** Served while the broker drains: what is settled now is not done twice. */
export const queueSettleHandler = handler(queueSettle, async (session, { correlationId, ...request }) => {
  const { results, deadlines } = await session.groups.queueSettle(request)
  session.reply(queueSettled, { correlationId, results, deadlines })
})
