/** What the figures ask of a peer's own client. */
export interface PeerClient {
  /** The packages it needs. */
  readonly packages: readonly string[]
  /** How many records of `produceEach` are in flight at once. */
  readonly sendsInFlight: number
  /** Connects and creates a stream. */
  open(url: string, name: string): Promise<PeerStream>
}

/** One stream. A promise settles when the server has acknowledged what it is for. */
export interface PeerStream {
  send(value: string): Promise<unknown>
  sendBatch?(values: readonly string[]): Promise<unknown>
  /** Reads from the start until `onBatch` has seen this many records, in the batches the client gives. */
  read(records: number, onBatch: (values: Iterable<PeerValue>, count: number) => void): Promise<void>
  /** Takes this many jobs from the start and acknowledges each by itself. */
  work?(jobs: number): Promise<void>
  /** Jobs that were given out or are still to be, and are not acknowledged. */
  unacknowledgedJobs?(): Promise<number>
  /** Records that the server holds. */
  stored(): Promise<number>
  /** Deletes the stream and disconnects. */
  remove(): Promise<void>
}

/** A value as the client hands it over. */
export interface PeerValue {
  readonly length: number
}
