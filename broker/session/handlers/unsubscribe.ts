import { unsubscribe, unsubscribed } from '../../../protocol/messages/subscribe.js'
import { handler } from './handler.js'

export const unsubscribeHandler = handler(unsubscribe, (session, { correlationId, subscriptionId }) => {
  session.subscriptions.close(subscriptionId)
  session.reply(unsubscribed, { correlationId, subscriptionId })
  return undefined
})
