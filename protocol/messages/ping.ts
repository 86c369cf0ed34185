import { uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

export const ping = message('PING', 3, { correlationId: uint32() })
export type Ping = MessageFields<typeof ping>

export const pong = message('PONG', 4, { correlationId: uint32() })
export type Pong = MessageFields<typeof pong>
