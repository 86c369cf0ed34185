import { type ErrorCode, type ErrorDetails, isErrorCode, MillraceError } from '../protocol/error-codes.js'

/** Requests by the name a test gives them, and the frames that carry them. */
const FRAMES_OF = {
  produce: ['PRODUCE', 'PRODUCE_CHECKED'],
  atomic: ['ATOMIC'],
  initProducer: ['INIT_PRODUCER'],
  fetch: ['FETCH'],
  listOffsets: ['LIST_OFFSETS'],
  subscribe: ['SUBSCRIBE'],
  unsubscribe: ['UNSUBSCRIBE'],
  joinGroup: ['JOIN_GROUP'],
  leaveGroup: ['LEAVE_GROUP'],
  ack: ['ACK'],
  deadLetter: ['DEAD_LETTER'],
  queueSettle: ['QUEUE_SETTLE'],
  createTopic: ['CREATE_TOPIC'],
  alterTopic: ['ALTER_TOPIC'],
  deleteTopic: ['DELETE_TOPIC'],
  deleteBefore: ['DELETE_BEFORE'],
  metadata: ['METADATA'],
  listGroups: ['LIST_GROUPS'],
  describeGroup: ['DESCRIBE_GROUP'],
  resetCursors: ['RESET_CURSORS'],
  deleteGroup: ['DELETE_GROUP'],
  dlqReplay: ['DLQ_REPLAY'],
  dlqPurge: ['DLQ_PURGE'],
} as const satisfies Record<string, readonly string[]>

/**
 * What a client can ask of a broker. `produce` is every send but the atomic one, with dedup ids or without; `queueSettle`
 * carries the acks, nacks and extensions of a work queue, `ack` the acks of consumer groups.
 */
export type RequestName = keyof typeof FRAMES_OF

export const REQUEST_NAMES = Object.keys(FRAMES_OF) as RequestName[]

const READING = [
  'fetch',
  'listOffsets',
  'subscribe',
  'unsubscribe',
  'metadata',
  'listGroups',
  'describeGroup',
] as const

/** A request that changes what is on disk. */
export type WriteName = Exclude<RequestName, (typeof READING)[number]>

/** The frames of a request that writes. Throws ILLEGAL_ARGUMENT for names that there are not. */
export function framesOfWrite(request: WriteName): readonly string[] {
  const isRead = (READING as readonly string[]).includes(request)
  if (!Object.hasOwn(FRAMES_OF, request) || isRead) refuse(`there is no request "${request}" that writes`)
  return FRAMES_OF[request]
}

const CLIENT_CODE_NAMES = ['CONNECTION_LOST', 'TIMEOUT', 'CLOSED', 'BUFFER_FULL', 'SCHEMA_MISMATCH'] as const
const CLIENT_CODES: ReadonlySet<ErrorCode> = new Set(CLIENT_CODE_NAMES)

/** An error that a broker sends: the catalogue without those that only the client raises. */
export type BrokerErrorCode = Exclude<ErrorCode, (typeof CLIENT_CODE_NAMES)[number]>

export interface FailOptions {
  /** How many requests fail; default 1. `Infinity` means all, until `cancel`. */
  readonly times?: number
  /** Instead of the catalogue's. */
  readonly message?: string
  /** What the broker says about when to try again. */
  readonly retryAfterMs?: number
  /** For example `{ actualOffset: 3 }`. */
  readonly details?: ErrorDetails
}

/** Requests that fail because a test said so. */
export interface RequestFault {
  /** How many have failed so far. */
  readonly hits: number
  /** No further one fails. */
  cancel(): void
}

interface Armed extends RequestFault {
  hits: number
  left: number
  readonly frames: readonly string[]
  readonly code: BrokerErrorCode
  readonly options: FailOptions
}

/** Which of the next requests are refused, first come first served. */
export class RequestFaults {
  readonly #armed: Armed[] = []

  /** Throws ILLEGAL_ARGUMENT for names, codes and counts that there are not. */
  add(request: RequestName, code: BrokerErrorCode, options: FailOptions = {}): RequestFault {
    const { times = 1 } = options
    if (!Object.hasOwn(FRAMES_OF, request)) {
      refuse(`there is no request "${request}"; there are ${REQUEST_NAMES.join(', ')}`)
    }
    if (!isErrorCode(code)) refuse(`there is no error code "${code}"`)
    if (CLIENT_CODES.has(code)) refuse(`${code} is raised by clients: no broker sends it`)
    if (!(times === Number.POSITIVE_INFINITY || (Number.isInteger(times) && times > 0)))
      refuse(`a request cannot fail ${times} times`)
    const armed: Armed = {
      hits: 0,
      left: times,
      frames: FRAMES_OF[request],
      code,
      options,
      cancel() {
        armed.left = 0
      },
    }
    this.#armed.push(armed)
    return armed
  }

  /** Why the broker is to refuse this frame, by its name; undefined when it is to do its work. */
  readonly next = (frame: string): MillraceError | undefined => {
    const index = this.#armed.findIndex(({ left, frames }) => left > 0 && frames.includes(frame))
    const armed = this.#armed[index]
    if (armed === undefined) return undefined
    armed.hits++
    if (--armed.left === 0) this.#armed.splice(index, 1)
    const { message, retryAfterMs, details } = armed.options
    return new MillraceError(armed.code, {
      ...(message === undefined ? {} : { message }),
      retryAfterMs,
      details,
    })
  }
}

function refuse(message: string): never {
  throw new MillraceError('ILLEGAL_ARGUMENT', { message })
}
