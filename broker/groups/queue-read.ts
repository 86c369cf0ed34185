import type { ReadResult } from '../shard/read.js'
import { type EntryView, entriesIn } from './entry-slice.js'

/** How much of a read is looked at. */
export interface ReadExtent {
  readonly offset: number
  /** Entries behind so many records are left for another read. */
  readonly records: number
}

/** What a work queue read of its partition. It goes back to its pool when the last one who holds it lets go. */
export class QueueRead {
  readonly bytes: number
  readonly nextOffset: number
  readonly entries: readonly EntryView[]
  readonly #result: ReadResult
  #holds = 1

  /** Throws CORRUPT_DATA; then the result is given back. */
  constructor(result: ReadResult, { offset, records }: ReadExtent) {
    this.#result = result
    this.bytes = result.bytes
    const entries: EntryView[] = []
    let { nextOffset } = result
    try {
      for (const entry of entriesIn(result.buffers)) {
        const last = entries.at(-1)
        if (last !== undefined && last.to - offset >= records) {
          nextOffset = last.to
          break
        }
        entries.push(entry)
      }
    } catch (error) {
      result.release()
      throw error
    }
    this.entries = entries
    this.nextOffset = nextOffset
  }

  hold(): void {
    this.#holds++
  }

  release(): void {
    if (--this.#holds === 0) this.#result.release()
  }
}

export function releaseAll(reads: readonly QueueRead[]): void {
  for (const read of reads) read.release()
}
