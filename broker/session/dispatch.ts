import { MillraceError } from '../../protocol/error-codes.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { SessionContext } from './context.js'
import type { Handler } from './handlers/handler.js'
import { HANDLERS } from './handlers/index.js'
import type { ReceivedFrame } from './received-frame.js'

const BY_OPCODE: readonly (Handler | undefined)[] = table(HANDLERS)

/** Whether the handler of a frame, not unpacked yet, releases it itself. */
export function isReleasedByHandler(bytes: Uint8Array): boolean {
  // An array of up to 15 fields, or of up to 65,535, whose first one is a small number: every frame of our clients.
  const isShort = (bytes[0]! & 0xf0) === 0x90
  if (!isShort && bytes[0] !== 0xdc) return false
  return BY_OPCODE[bytes[isShort ? 1 : 3]!]?.isReleasing === true
}

/** Refuses a request, by the name of its message, before its handler sees it. Tests inject one. */
export type RefuseRequest = (name: string) => MillraceError | undefined

/**
 * Hands an unpacked frame to the handler of its opcode. Whatever goes wrong with a frame that could be unpacked is
 * answered to it alone; the connection and its other requests go on.
 */
export function dispatch(
  session: SessionContext,
  frame: readonly unknown[],
  options: { received: ReceivedFrame; isDraining: boolean; refuse?: RefuseRequest | undefined },
): void {
  const { received } = options
  const opcode = frame[0] as number
  const handler = BY_OPCODE[opcode]
  if (!handler) {
    const message = `the broker does not know opcode ${opcode}`
    session.fail(correlationIdOf(frame), new MillraceError('UNKNOWN_OPCODE', { message }))
    received.release()
    return
  }
  try {
    if (options.isDraining && handler.isRefusedInDrain) throw new MillraceError('SHUTTING_DOWN')
    const refusal = options.refuse?.(handler.name)
    if (refusal) throw refusal
    const pending = handler.run(session, frame, received)
    if (pending)
      void settle(session, {
        pending,
        frameBytes: received.bytes.length,
        correlationId: correlationIdOf(frame),
      })
  } catch (error) {
    session.fail(handler.isAnswered ? correlationIdOf(frame) : 0, error)
    received.release()
  }
}

async function settle(
  session: SessionContext,
  request: { pending: Promise<void>; frameBytes: number; correlationId: number },
): Promise<void> {
  session.inFlight.begin(request.frameBytes)
  try {
    await request.pending
  } catch (error) {
    session.fail(request.correlationId, error)
  } finally {
    session.inFlight.end(request.frameBytes)
  }
}

/** The id of the request, wherever a frame has a number in its place; 0 where it has none. */
function correlationIdOf(frame: readonly unknown[]): number {
  const value = frame[1]
  const isId =
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= HARD_LIMITS.uint32Max
  return isId ? value : 0
}

function table(handlers: readonly Handler[]): (Handler | undefined)[] {
  const byOpcode: (Handler | undefined)[] = []
  for (const handler of handlers) byOpcode[handler.opcode] = handler
  return byOpcode
}
