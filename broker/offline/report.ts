import type { TornTail } from '../wal/scan.js'

/** Where stored bytes are not what was written. */
export interface DataFault {
  readonly file: string
  /** Byte position in the file; 0 where the fault is not one place's. */
  readonly byteOffset: number
  readonly reason: string
  /** It is no damage: a newer release of Millrace wrote this. */
  readonly isNewer?: boolean
}

/** What was read, whether or not it verified. */
export interface DataCounts {
  readonly topics: number
  readonly partitions: number
  /** Records that can be read: in chunks and in the WAL behind them. */
  readonly records: number
  /** Chunk files that records are in. */
  readonly chunks: number
  readonly walGroups: number
  /** Size of all files that were read. */
  readonly bytes: number
}

/**
 * - `clean`: every byte that matters is what was written.
 * - `tornTail`: so it is, but for a last write that a crash cut off; nobody was told that it was written, and the next
 *   start cuts it.
 * - `corrupt`: what was acknowledged is damaged or missing; a start refuses, or refuses the records concerned.
 */
export type DataStatus = 'clean' | 'tornTail' | 'corrupt'

export interface VerifyReport {
  readonly status: DataStatus
  readonly faults: readonly DataFault[]
  readonly tornTail: TornTail | undefined
  /** What is worth knowing and no fault: files that a start sweeps, files that are not Millrace's. */
  readonly notes: readonly string[]
  readonly counts: DataCounts
  /** SHA-256 over the state that a start would have; undefined when there is none. */
  readonly stateHash: string | undefined
}

/** How far a long read has come. */
export interface Progress {
  readonly what: 'WAL' | 'chunks' | 'snapshots'
  readonly bytes: number
}

export type OnProgress = (progress: Progress) => void

/** The path is no data directory of Millrace. */
export class NotADataDirectoryError extends Error {
  override readonly name = 'NotADataDirectoryError'
}
