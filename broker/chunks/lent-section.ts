import { ChunkCorruption } from './corruption.js'
import { EntryChecker } from './entry-checker.js'
import type { LentFile } from './lent-files.js'
import {
  type ChunkRead,
  type ReadableFile,
  type SectionAddress,
  type SectionPlace,
  SectionReader,
} from './section-reader.js'

/** What is read at a time of an entry that a range cuts. */
const SCRATCH_BYTES = 64 * 1024

/** Runs a read when it is its turn. */
export type TakeTurn = <T>(read: () => Promise<T>) => Promise<T>

export interface LentSectionOptions {
  readonly lent: LentFile
  /** Without it, reads go at once. */
  readonly takeTurn?: TakeTurn | undefined
  readonly address: SectionAddress
  /** Where an entry begins, at or before this position in the file. */
  readonly placeBefore: (position: number) => Promise<SectionPlace>
}

/**
 * A section that somebody reads at length: to its end, also when the chunk is removed meanwhile. Whoever has it closes it. Nothing
 * leaves it unchecked.
 */
export class LentSection {
  readonly #options: LentSectionOptions
  readonly #file: ReadableFile

  constructor(options: LentSectionOptions) {
    this.#options = options
    const { lent, takeTurn } = options
    const { file } = lent
    this.#file =
      takeTurn === undefined
        ? file
        : { path: file.path, read: (buffer, position) => takeTurn(() => file.read(buffer, position)) }
  }

  /** Of all entries, end to end. */
  get bytes(): number {
    const { byteStart, byteEnd } = this.#options.address.section
    return byteEnd - byteStart
  }

  /** The entries' bytes from `start` to `end`, not included; both count from the first entry's first byte. */
  async pieces({ start, end }: { start: number; end: number }): Promise<SectionPieces> {
    const { address, placeBefore } = this.#options
    const { byteStart, baseOffset } = address.section
    const place =
      start === 0 ? { position: byteStart, offset: baseOffset } : await placeBefore(byteStart + start)
    return new SectionPieces(this.#file, address, { place, start: byteStart + start, end: byteStart + end })
  }

  /** Whole entries, read by read, each of `maxBytes` or of one entry. Rejects with ChunkCorruption, DiskError. */
  async *entries({ maxBytes }: { maxBytes: number }): AsyncGenerator<ChunkRead, void, void> {
    const { address } = this.#options
    const { section } = address
    const reader = new SectionReader(this.#file, address)
    let start: SectionPlace = { offset: section.baseOffset, position: section.byteStart }
    while (start.position < section.byteEnd) {
      const read = await reader.read({ offset: start.offset, maxBytes, start, slackBytes: 0 })
      if (read.bytes > 0) yield read
      start = { offset: read.nextOffset, position: read.nextPosition }
    }
  }

  close(): void {
    this.#options.lent.release()
  }
}

/**
 * A range of a section's bytes, piece by piece. Entries that are cut by a border of a piece are checked when their end comes: what a
 * damaged one began with may have been given out by then, but never the last piece.
 */
export class SectionPieces {
  readonly #file: ReadableFile
  readonly #checker: EntryChecker
  readonly #start: number
  readonly #end: number
  #position: number

  constructor(
    file: ReadableFile,
    address: SectionAddress,
    { place, start, end }: { place: SectionPlace; start: number; end: number },
  ) {
    this.#file = file
    this.#checker = new EntryChecker(address, place)
    this.#start = start
    this.#end = end
    this.#position = place.position
  }

  /**
   * The next bytes, as a view of `buffer`; none at the end. Not re-entrant. Rejects with ChunkCorruption, and with a DiskError.
   */
  async next(buffer: Uint8Array): Promise<Uint8Array> {
    if (this.#position < this.#start) await this.#pass(() => this.#start - this.#position)
    // Behind the end there is the rest of an entry, which was read for its check alone.
    const left = Math.max(0, this.#end - this.#position)
    const piece = await this.#read(buffer, left)
    if (piece.length === left && this.#checker.missingBytes > 0)
      await this.#pass(() => this.#checker.missingBytes)
    return piece
  }

  /** Reads what belongs to entries that the range cuts, for their check alone. The buffer of a short range would be too small for it. */
  async #pass(bytesLeft: () => number): Promise<void> {
    const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
    while (bytesLeft() > 0) await this.#read(scratch, bytesLeft())
  }

  async #read(buffer: Uint8Array, bytesMax: number): Promise<Uint8Array> {
    const wanted = buffer.subarray(0, bytesMax)
    if (wanted.length === 0) return wanted
    const filled = await this.#file.read(wanted, this.#position)
    if (filled < wanted.length) this.#fail(this.#position + filled, 'the file ends inside a section')
    const fault = this.#checker.feed(wanted)
    if (fault !== undefined) this.#fail(this.#checker.entryAt, fault)
    this.#position += filled
    return wanted
  }

  #fail(byteOffset: number, reason: string): never {
    throw new ChunkCorruption({ file: this.#file.path, byteOffset, reason })
  }
}
