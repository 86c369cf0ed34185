import { describeGroup, groupDescribed } from '../../../protocol/messages/group-admin.js'
import { handler } from './handler.js'

export const describeGroupHandler = handler(describeGroup, async (session, { correlationId, ...request }) => {
  session.reply(groupDescribed, { correlationId, ...(await session.groups.describe(request)) })
})
