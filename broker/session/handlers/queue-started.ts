import { queueStarted } from '../../../protocol/messages/queue.js'
import { handler } from './handler.js'

export const queueStartedHandler = handler(queueStarted, (session, started) => {
  session.groups.queueStarted(started)
  return undefined
})
