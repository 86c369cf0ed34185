import { ping, pong } from '../../../protocol/messages/ping.js'
import { handler } from './handler.js'

export const pingHandler = handler(ping, (session, { correlationId }) => {
  session.reply(pong, { correlationId })
  return undefined
})
