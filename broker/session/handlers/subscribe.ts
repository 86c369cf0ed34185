import { subscribe, subscribed } from '../../../protocol/messages/subscribe.js'
import { handler } from './handler.js'

export const subscribeHandler = handler(
  subscribe,
  (session, request) => {
    const { correlationId, subscriptionId } = request
    session.subscriptions.open(request, ({ startOffset, durableEnd }) =>
      session.reply(subscribed, { correlationId, subscriptionId, startOffset, durableEnd }),
    )
    return undefined
  },
  { isRefusedInDrain: true },
)
