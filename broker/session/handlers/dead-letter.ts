import { deadLetter, deadLettered } from '../../../protocol/messages/dead-letter.js'
import { handler } from './handler.js'

/** Served while the broker drains, as acks are. */
export const deadLetterHandler = handler(deadLetter, async (session, { correlationId, ...request }) => {
  const { dlqOffset } = await session.groups.deadLetter(request)
  session.reply(deadLettered, { correlationId, dlqOffset })
})
