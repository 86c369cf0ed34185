import { queueCredit } from '../../../protocol/messages/queue.js'
import { handler } from './handler.js'

export const queueCreditHandler = handler(queueCredit, (session, credit) => {
  session.groups.queueCredit(credit)
  return undefined
})
