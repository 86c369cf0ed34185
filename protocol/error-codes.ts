/**
 * The catalogue of operating errors: one row per code, the same in frames, the SDK, HTTP and the docs.
 * A code is never renamed and never changes its meaning.
 */

/** What is known of a write that failed. `unknown` means that it may or may not be in the log. */
export type Outcome = 'notWritten' | 'unknown'

export interface ErrorKind {
  /** The default message; a thrower says more. */
  readonly message: string
  /** Whether the same request may succeed later without the caller changing anything. */
  readonly retriable: boolean
  readonly outcome: Outcome
  readonly httpStatus: number
}

const kind = (
  httpStatus: number,
  message: string,
  more: { retriable?: boolean; outcome?: Outcome } = {},
): ErrorKind => ({
  message,
  retriable: more.retriable ?? false,
  outcome: more.outcome ?? 'notWritten',
  httpStatus,
})

export const ERROR_CODES = {
  // Frames and sessions
  BAD_FRAME: kind(400, 'the frame is not what the protocol describes'),
  UNKNOWN_OPCODE: kind(400, 'the broker does not know this opcode'),
  UNSUPPORTED_VERSION: kind(400, 'no protocol version is spoken by both sides'),
  HELLO_REQUIRED: kind(400, 'the first frame of a connection must be HELLO'),
  HELLO_REPEATED: kind(400, 'a connection says HELLO once'),
  FRAME_TOO_LARGE: kind(413, 'the frame is larger than the broker takes'),
  UNAUTHENTICATED: kind(401, 'the credential was refused'),
  LIMIT_REACHED: kind(429, 'a configured limit is reached'),
  SHUTTING_DOWN: kind(503, 'the broker is shutting down', { retriable: true }),
  NOT_LEADER: kind(421, 'another broker owns this shard', { retriable: true }),
  CROSS_SHARD: kind(400, 'one request cannot write to several shards'),
  INTERNAL: kind(500, 'the broker failed in a way it did not expect', { outcome: 'unknown' }),

  // Topics and positions
  ILLEGAL_ARGUMENT: kind(400, 'an argument is outside what is allowed'),
  ILLEGAL_TOPIC_NAME: kind(400, 'the topic name is not allowed'),
  UNKNOWN_TOPIC: kind(404, 'there is no such topic'),
  UNKNOWN_PARTITION: kind(404, 'the topic has no such partition'),
  TOPIC_EXISTS: kind(409, 'a topic of this name exists'),
  TOPIC_MISMATCH: kind(409, 'the topic exists with other settings'),
  OFFSET_OUT_OF_RANGE: kind(416, 'the offset is outside what the partition holds'),

  // Records and batches
  RECORD_TOO_LARGE: kind(413, 'the record is larger than the broker takes'),
  BATCH_TOO_LARGE: kind(413, 'the batch is larger than the broker takes'),
  BAD_BATCH: kind(400, 'the batch does not hold what its header says'),
  BAD_CRC: kind(400, 'the batch was damaged on its way: its CRC does not match', { retriable: true }),
  BAD_COMPRESSION: kind(400, 'the batch cannot be decompressed'),
  ENCODING_MISMATCH: kind(400, "a key or value does not fit the topic's encoding"),

  // Producers
  UNKNOWN_PRODUCER: kind(404, 'the broker does not know this producer id'),
  PRODUCER_FENCED: kind(409, 'a newer producer took over this name'),
  SEQUENCE_GAP: kind(409, 'a batch before this one is missing', { retriable: true }),
  DUPLICATE_TOO_OLD: kind(409, 'the batch was written long ago and its offsets are forgotten', {
    outcome: 'unknown',
  }),

  // Subscriptions
  SUBSCRIPTION_EXISTS: kind(409, 'this connection has a subscription of this id'),
  UNKNOWN_SUBSCRIPTION: kind(404, 'this connection has no subscription of this id'),

  // Conditions of a write
  EXPECTED_OFFSET_CONFLICT: kind(409, 'the partition does not end at the expected offset'),
  ATOMIC_TOO_LARGE: kind(413, 'the atomic write is larger than the broker takes'),
  DEDUP_FULL: kind(503, 'the memory for dedup ids is full', { retriable: true }),
  TOPIC_READ_ONLY: kind(403, 'the topic is written by the broker alone'),

  // Streams
  STREAM_CLOSED: kind(409, 'the stream is closed: nothing is added any more'),
  STREAM_DELETED: kind(410, 'the stream was deleted'),
  STREAM_SEQ_CONFLICT: kind(409, 'a write of this Stream-Seq, or a later one, was made before'),
  PRODUCER_EPOCH_STALE: kind(403, 'a producer of a later epoch took over this id'),
  OFFSET_GONE: kind(410, 'what stood at the offset was deleted'),

  // Consumer groups and work queues
  ILLEGAL_GROUP_NAME: kind(400, 'the group name is not allowed'),
  UNKNOWN_GROUP: kind(404, 'there is no such group'),
  GROUP_KIND_CONFLICT: kind(409, 'the name is in use by a group of the other kind'),
  GROUP_ACTIVE: kind(409, 'the group has members'),
  UNKNOWN_MEMBER: kind(404, 'the group has no such member'),
  MEMBER_EXISTS: kind(409, 'the group has a member of this id'),
  FENCED: kind(409, 'the partition belongs to another member'),
  ACK_OUT_OF_RANGE: kind(416, 'the acknowledged offset is past the durable end'),
  ALREADY_ACKED: kind(409, 'the record was acknowledged before'),
  LEASE_LOST: kind(409, 'the lease is over'),

  // Load and storage
  BACKPRESSURE: kind(503, 'the broker has more to write than it may hold', { retriable: true }),
  DISK_FULL: kind(507, 'the disk is nearly full', { retriable: true }),
  STORAGE_FAILED: kind(500, 'writing to disk failed and the broker stops', {
    retriable: true,
    outcome: 'unknown',
  }),
  CORRUPT_DATA: kind(500, 'stored data is damaged'),

  // HTTP alone
  BAD_REQUEST: kind(400, 'the request is not what the documentation describes'),
  ORIGIN_REFUSED: kind(403, 'a page of this origin may not use the broker'),
  UNKNOWN_ROUTE: kind(404, 'nothing is served at this path'),
  METHOD_NOT_ALLOWED: kind(405, 'the path does not take this method'),
  NOT_ACCEPTABLE: kind(406, 'the answer cannot be given in a form that is accepted'),
  REQUEST_TIMEOUT: kind(408, 'the request did not come in time', { retriable: true }),
  CHUNK_GONE: kind(410, 'the chunk is not there any more'),
  BODY_TOO_LARGE: kind(413, 'the body is larger than the broker takes'),
  UNSUPPORTED_MEDIA_TYPE: kind(415, 'the body is of a type that is not taken here'),
  RANGE_NOT_SATISFIABLE: kind(416, 'the range begins behind the last byte'),
  UPGRADE_REQUIRED: kind(426, 'WebSockets are served here'),
  HEADERS_TOO_LARGE: kind(431, 'the headers are larger or more than the broker takes'),
  NOT_READY: kind(503, 'the broker is starting', { retriable: true }),

  // Raised by the client library, never sent by a broker
  CONNECTION_LOST: kind(503, 'the connection broke before the answer came', {
    retriable: true,
    outcome: 'unknown',
  }),
  TIMEOUT: kind(504, 'the time allowed is over', { retriable: true, outcome: 'unknown' }),
  CLOSED: kind(499, 'the client or producer is closed'),
  BUFFER_FULL: kind(429, "the producer's buffer is full", { retriable: true }),
  SCHEMA_MISMATCH: kind(422, 'a value does not fit the schema'),
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERROR_CODES

/** Extra facts of one error, for example `startOffset` and `endOffset` of OFFSET_OUT_OF_RANGE, `leader` of NOT_LEADER. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean>>

export interface MillraceErrorOptions {
  message?: string
  retriable?: boolean
  outcome?: Outcome
  /** Milliseconds after which a retry is worth it. */
  retryAfterMs?: number | undefined
  details?: ErrorDetails | undefined
  cause?: unknown
}

/** Every operating error that Millrace raises, on both sides of the wire. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError'
  readonly code: ErrorCode
  /** Whether the same call may succeed later. */
  readonly retriable: boolean
  /** `notWritten`: nothing of it is in the log. `unknown`: it may be. */
  readonly outcome: Outcome
  readonly retryAfterMs: number | undefined
  readonly details: ErrorDetails | undefined

  constructor(code: ErrorCode, options: MillraceErrorOptions = {}) {
    const row = ERROR_CODES[code]
    super(options.message ?? row.message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retriable = options.retriable ?? row.retriable
    this.outcome = options.outcome ?? row.outcome
    this.retryAfterMs = options.retryAfterMs
    this.details = options.details
  }
}

/** The same error about a write of which something else is known. */
export function withOutcome(error: MillraceError, outcome: Outcome): MillraceError {
  if (error.outcome === outcome) return error
  const { code, message, retriable, retryAfterMs, details, cause } = error
  return new MillraceError(code, { message, retriable, outcome, retryAfterMs, details, cause })
}

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(ERROR_CODES, text)
