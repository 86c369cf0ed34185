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
  groupNameCharsMax: 200,
  /** Topics of one member. */
  groupTopicsMax: 1_000,
  /** Members of one group, those included that are away and may come back. */
  groupMembersMax: 10_000,
  /** Members that one connection speaks for. */
  membersPerConnectionMax: 1_000,
  groupsPerPageMax: 1_000,
  /** Partitions in one frame, of each of its lists. */
  partsPerFrameMax: 10_000,
  sessionTimeoutMsMin: 1_000,
  sessionTimeoutMsMax: 5 * 60_000,
  /** Acks, jobs or settled items of one request. */
  acksPerRequestMax: 10_000,
  /** Offset ranges in one list. */
  rangesMax: 10_000,
  /** Jobs that a member of a work queue may have room for. */
  prefetchMax: 10_000,
  /** The lease of a job, what it is extended by, the delay before it is delivered again: a week, milliseconds. */
  jobMsMax: 7 * 24 * 3_600_000,
  /** Why a job or record was given up. */
  reasonCharsMax: 1_024,
  atomicWritesMax: 1_000,
  /** Of an ATOMIC, in all its batches. */
  atomicDedupIdsMax: 4_096,
  /** Of the text that a client hashes to a dedup id. */
  dedupIdCharsMax: 1_024,
  dedupWindowMsMin: 1_000,
  dedupWindowMsMax: 7 * 24 * 3_600_000,
  /** Offsets, times and ids stay plain numbers. */
  uintMax: Number.MAX_SAFE_INTEGER,
  uint32Max: 0xffffffff,
} as const

/** Of Durable Streams, which are HTTP alone. */
export const STREAM_LIMITS = {
  contentTypeCharsMax: 255,
  expiresAtCharsMax: 64,
  producerIdCharsMax: 255,
  /** Producers that one stream remembers. */
  producersMax: 10_000,
  /** A producer that is silent for so long is forgotten where room is needed for another, milliseconds. */
  producerIdleMs: 7 * 24 * 3_600_000,
  seqCharsMax: 1_024,
  /** Forks of forks. */
  forksNestedMax: 64,
} as const

/**
 * Batches per (producer, partition) that the broker remembers: a retry of any of them gets its first answer, so a
 * producer may have this many unanswered batches in a partition.
 */
export const PRODUCER_WINDOW_BATCHES = 16

/** A name that users may give a topic or group; names that start with `_millrace.` belong to the broker. */
export const TOPIC_NAME_PATTERN = /^[A-Za-z0-9._-]+$/
export const RESERVED_TOPIC_PREFIX = '_millrace.'

/** Why a topic name is refused, or undefined when it is legal. */
export const illegalTopicName = (name: string): string | undefined =>
  illegalName(name, { what: 'topic', charsMax: HARD_LIMITS.topicNameCharsMax })

/**
 * Why the name of a consumer group or work queue is refused, or undefined when it is legal. It has no dots: the names of
 * its dead-letter topics, `TOPIC.GROUP.dlq`, would not say where the topic's name ends.
 */
export const illegalGroupName = (name: string): string | undefined => {
  const fault = illegalName(name, { what: 'group', charsMax: HARD_LIMITS.groupNameCharsMax })
  if (fault === undefined && name.includes('.'))
    return 'a group name may hold only letters, digits, "_" and "-"'
  return fault
}

function illegalName(
  name: string,
  { what, charsMax }: { what: string; charsMax: number },
): string | undefined {
  if (name.length === 0) return `a ${what} name is empty`
  if (name.length > charsMax) {
    return `a ${what} name has ${name.length} characters, at most ${charsMax} are allowed`
  }
  if (name === '.' || name === '..') return `a ${what} cannot be named "${name}"`
  if (!TOPIC_NAME_PATTERN.test(name)) return `a ${what} name may hold only letters, digits, ".", "_" and "-"`
  if (name.startsWith(RESERVED_TOPIC_PREFIX))
    return `${what} names that start with "${RESERVED_TOPIC_PREFIX}" are reserved`
  return undefined
}
