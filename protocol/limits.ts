/**
 * Every size and count that the protocol bounds, in one place. Bytes unless the name says otherwise.
 * The broker tells a client the values in force in WELCOME; these are the defaults and the hard ceilings.
 */

const KIB = 1024
const MIB = 1024 * KIB

/** Defaults, all configurable on the broker. */
export const DEFAULT_LIMITS = {
  /** One WebSocket message, either way. */
  frameBytesMax: 8 * MIB,
  /** One record as encoded: its whole five-element array. */
  recordBytesMax: 1 * MIB,
  /** One batch's payload, as sent and as inflated. */
  batchBytesMax: 4 * MIB,
  /** Requests of one connection that are not answered yet. */
  inFlightBytesMax: 16 * MIB,
} as const

/** Ceilings that no configuration lifts. */
export const HARD_LIMITS = {
  /** Arrays and maps inside each other in one frame, the frame's own array included. */
  nestingMax: 8,
  /** MessagePack values in one frame, containers and map keys included: what 8 MiB of empty arrays would cost is memory. */
  valuesPerFrameMax: 1_000_000,
  /** Acks in one PRODUCED frame; a broker with more of them sends several frames. */
  acksPerFrameMax: 100_000,
  topicNameCharsMax: 249,
  partitionsPerTopicMax: 10_000,
  recordsPerBatchMax: 1_000_000,
  headersPerRecordMax: 1_000,
  producerNameCharsMax: 255,
  clientNameCharsMax: 255,
  credentialBytesMax: 16 * KIB,
  topicsPerMetadataMax: 1_000,
  offsetQueriesMax: 10_000,
  /** Credit that one subscription may hold. */
  creditBytesMax: 256 * MIB,
  maxWaitMsMax: 60_000,
  /** Offsets, times and ids stay plain numbers. */
  uintMax: Number.MAX_SAFE_INTEGER,
  uint32Max: 0xffffffff,
} as const

/**
 * Batches per (producer, partition) that the broker remembers: a retry of any of them gets its first answer, so a
 * producer may have this many unanswered batches in a partition.
 */
export const PRODUCER_WINDOW_BATCHES = 16

/** A name that users may give a topic; names that start with `_millrace.` belong to the broker. */
export const TOPIC_NAME_PATTERN = /^[A-Za-z0-9._-]+$/
export const RESERVED_TOPIC_PREFIX = '_millrace.'

/** Why a topic name is refused, or undefined when it is legal. */
export function illegalTopicName(name: string): string | undefined {
  if (name.length === 0) return 'a topic name is empty'
  if (name.length > HARD_LIMITS.topicNameCharsMax) {
    return `a topic name has ${name.length} characters, at most ${HARD_LIMITS.topicNameCharsMax} are allowed`
  }
  if (name === '.' || name === '..') return `a topic cannot be named "${name}"`
  if (!TOPIC_NAME_PATTERN.test(name)) return 'a topic name may hold only letters, digits, ".", "_" and "-"'
  if (name.startsWith(RESERVED_TOPIC_PREFIX))
    return `topic names that start with "${RESERVED_TOPIC_PREFIX}" are reserved`
  return undefined
}
