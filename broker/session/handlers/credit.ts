import { credit } from '../../../protocol/messages/subscribe.js'
import { handler } from './handler.js'

export const creditHandler = handler(credit, (session, { subscriptionId, bytes }) => {
  session.subscriptions.addCredit(subscriptionId, bytes)
  return undefined
})
