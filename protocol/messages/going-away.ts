import { text, uint } from '../shape.js'
import { type MessageFields, message } from './message.js'

/** From the broker, unasked: it will close this connection; answers under way still come. */
export const goingAway = message('GOING_AWAY', 6, { reason: text(1024), deadlineMs: uint() })
export type GoingAway = MessageFields<typeof goingAway>
