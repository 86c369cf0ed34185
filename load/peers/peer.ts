/** A broker that Millrace is compared with. */
export interface Peer {
  readonly name: string
  /** One honest line: what is durable and how it is configured. */
  readonly settings: string
  /** Whether it acknowledges only what is synced. */
  readonly isDurable: boolean
  /** The server's version when it can be started here with these settings and its client is installed. */
  find(): Promise<string | undefined>
  /** Starts a server on a free port of 127.0.0.1. Its data goes to `directory`, which the caller removes. */
  start(directory: string): Promise<RunningPeer>
}

/**
 * A started server. A figure that its client has no good way to do is absent. Each figure runs its client in a process of
 * its own, on a new stream, and throws when the server does not hold what it acknowledged.
 */
export interface RunningPeer {
  readonly url: string
  /** Records/s; a promise per record, with its client's best pipelining. */
  produceEach?(options: { recordBytes: number; ms: number }): Promise<number>
  /** Records/s of batches, several in flight. */
  produceBatches?(options: { recordBytes: number; ms: number }): Promise<number>
  /** Records/s of stored records, looked at one by one. */
  consume?(options: { recordBytes: number; records: number }): Promise<number>
  /** Records/s of stored records, taken as the batches in which the client hands them over. */
  consumeBatches?(options: { recordBytes: number; records: number }): Promise<number>
  /** One awaited send after the other. */
  loneSends?(options: { recordBytes: number; count: number }): Promise<Latency>
  /** Jobs/s of one worker that takes stored jobs and acknowledges each, pipelined. */
  queue?(options: { recordBytes: number; jobs: number }): Promise<number>
  /** Ends the server; again is a no-op. */
  stop(): Promise<void>
}

export interface Latency {
  readonly p50Ms: number
  readonly p99Ms: number
}
