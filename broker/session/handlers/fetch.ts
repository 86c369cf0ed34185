import { fetch } from '../../../protocol/messages/fetch.js'
import { handler } from './handler.js'

export const fetchHandler = handler(fetch, (session, request) => {
  session.fetches.add(request)
  return undefined
})
