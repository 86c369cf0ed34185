/**
 * Mistakes that tests have a broker make, to show that the history checker sees every one of them. Each name says what is
 * done wrong; the line that does it stands where the right thing is done, and compares the `planted` of its failpoints.
 * A broker of its own process has none: neither configuration, command line nor environment reach it.
 */
export const plantedFaultNames = [
  /** A group is acknowledged when the page cache has it. */
  'ackBeforeSync',
  /** A group is applied, and so read, cached and assigned from, while it is being written. */
  'visibleBeforeDurable',
  /** A WAL write that failed is taken for one that succeeded. */
  'writeErrorIgnored',
  /** WAL segments are recycled once the manifest has applied them, whatever lies in them alone. */
  'walRecycledTooEarly',
  /** The last group is replayed although its write was torn. */
  'tornTailReplayed',
  /** A chunk is committed before its name is on disk. */
  'sealWithoutDirectorySync',
  /** A chunk is committed, and the WAL let go, before its bytes are on disk. */
  'chunkNotSynced',
  /** What is read from a chunk is served without a look at its checksums. */
  'chunkCrcUnchecked',
  /** Dedup ids are not in the record of their data: the manifest alone has them. */
  'dedupApartFromData',
  /** The answer to an atomic write is not in its record: a retry after a crash is a new write. */
  'answerApartFromData',
  /** Acks of a consumer group are answered when they are decided. */
  'cursorBeforeDurable',
  /** Chunks go when they are sealed, whoever has not read them. */
  'truncationIgnoresCursors',
  /** Leases are in memory, and in the manifest later on. */
  'leaseNotPersisted',
  /** A producer whose name was taken over goes on writing. */
  'staleProducerAccepted',
  /** A member whose partition went to another acknowledges in it. */
  'staleMemberAccepted',
  /** What a stream knows of its producers is not in the record of their data: the manifest alone has it. */
  'streamProducerApartFromData',
  /** That a stream is closed is in memory, and in the manifest later on. */
  'streamClosedNotPersisted',
  /** Below the URL of a chunk that is gone stands the oldest one that is there. */
  'chunkUrlServesAnother',
  /** An event's id says where its page ends: whoever comes back with it misses what was behind the event. */
  'eventIdNamesPageEnd',
  /** The event behind a stream's data says where that begins: whoever comes back with it gets the data again. */
  'controlBehindItsData',
  /** After a start a fork that the log created leaves its source one record further on. */
  'forkPointMovedAtReplay',
  /** A stream is read for its forks past the place at which they leave it. */
  'sourceReadPastFork',
  /** A producer's batch is taken whatever is missing before it, and what was missing when it comes. */
  'sequenceUnchecked',
  /** The first batches of a producer's new epoch are answered as those of the old one were. */
  'oldEpochAnswered',
  /** Of an atomic write that is replayed only the first batch is there. */
  'unitTornAtReplay',
  /** Acks are in memory, and in the manifest later on. */
  'cursorNotPersisted',
  /** A deletion is answered, and nothing is deleted. */
  'deletionNotDone',
  /** A start that finds a torn tail does not come to its end. */
  'tornTailHangsStart',
] as const

export type PlantedFault = (typeof plantedFaultNames)[number]
