import { bool, details, nullable, text, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

/** The answer to a request that failed; correlation id 0 when the frame had none that could be read. */
export const error = message('ERROR', 5, {
  correlationId: uint32(),
  code: text(64),
  message: text(4096),
  retriable: bool(),
  /** 0: nothing was written. 1: unknown. */
  outcome: uint(1),
  retryAfterMs: nullable(uint()),
  details: nullable(details()),
})
export type ErrorFields = MessageFields<typeof error>
