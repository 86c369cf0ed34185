/** What a load run counts and times; k6's metrics stand behind it in a run, plain numbers in a test. */
export interface Measures {
  /** Milliseconds from PRODUCE, or from when it was due, to its ack. */
  acked(ms: number): void
  /** Milliseconds from PRODUCE to the entry's arrival at a reader. Both must be of one clock. */
  delivered(ms: number): void
  /** Milliseconds from QUEUE_SETTLE to its answer. */
  settled(ms: number): void
  /** Milliseconds from the first SYN to WELCOME. */
  connected(ms: number): void
  produced(records: number): void
  consumed(records: number): void
  /** Jobs of a work queue that were done. */
  done(jobs: number): void
  /** Jobs that came once more because they had failed. */
  redelivered(jobs: number): void
  /** Something that must not happen: one is enough to fail a run. */
  wrong(kind: WrongKind, detail: string): void
}

/**
 * `gap`, `repeat`: offsets or sequences of a partition, or a job that had been done. `corrupt`: an entry or frame that does
 * not verify. `order`: acks of a partition that go back. `refused`: an ERROR, or an item refused. `connection`: refused or
 * lost. `unanswered`, `behind`: what was still missing at the end. `exception`: a fault of the load itself.
 */
export type WrongKind =
  | 'gap'
  | 'repeat'
  | 'corrupt'
  | 'order'
  | 'refused'
  | 'connection'
  | 'unanswered'
  | 'behind'
  | 'exception'
