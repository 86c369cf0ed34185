import { MillraceError } from '../../../protocol/error-codes.js'
import { WEBSOCKET_PATH } from '../../../protocol/version.js'
import { type Route, route } from '../route.js'

const webSocket = route({
  method: 'GET',
  path: WEBSOCKET_PATH,
  id: 'openWebSocket',
  summary: 'Where WebSockets are served: protocol/PROTOCOL.md says what goes over them',
  answers: { 101: { about: 'A WebSocket from here on.' } },
  errors: ['UPGRADE_REQUIRED'],
  handle(_context, _request, reply) {
    reply.header('connection', 'upgrade').header('upgrade', 'websocket')
    throw new MillraceError('UPGRADE_REQUIRED')
  },
})

/** A plain request where WebSockets are served is told so. */
export const webSocketRoutes: readonly Route[] = [webSocket]
