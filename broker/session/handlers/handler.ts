import type { Message } from '../../../protocol/messages/message.js'
import type { Fields, FieldsOf } from '../../../protocol/shape.js'
import type { SessionContext } from '../context.js'
import type { ReceivedFrame } from '../received-frame.js'

export interface Handler {
  readonly name: string
  readonly opcode: number
  /** Whether it changes something or begins something that lasts: refused while the broker drains. */
  readonly isRefusedInDrain: boolean
  /** Whether it releases the frame itself, when the request is answered; any other gets one that is safe to keep. */
  readonly isReleasing: boolean
  /** Whether the frame's first field is a correlation id, so that an ERROR can name the request. */
  readonly isAnswered: boolean
  /**
   * Checks the frame's fields and answers it. What it throws or rejects with becomes the request's ERROR. While a
   * promise it returned is pending, the request counts as in flight.
   */
  run(session: SessionContext, frame: readonly unknown[], received: ReceivedFrame): Promise<void> | undefined
}

/** The handler of one request message. */
export function handler<F extends Fields>(
  message: Message<string, F>,
  run: (session: SessionContext, fields: FieldsOf<F>, received: ReceivedFrame) => Promise<void> | undefined,
  options: { isRefusedInDrain?: boolean; isReleasing?: boolean } = {},
): Handler {
  return {
    name: message.name,
    opcode: message.opcode,
    isRefusedInDrain: options.isRefusedInDrain ?? false,
    isReleasing: options.isReleasing ?? false,
    isAnswered: 'correlationId' in message.fields,
    run: (session, frame, received) => run(session, message.read(frame), received),
  }
}
