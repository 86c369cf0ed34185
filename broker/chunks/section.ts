import { createHash } from 'node:crypto'
import { ENTRY_HEADER_BYTES, type EntryHeader } from '../../protocol/entry.js'
import type { TopicId } from '../../protocol/ids.js'
import { SparseIndexBuilder } from './sparse-index.js'

/** One partition's run of entries in a chunk file. Byte positions are from the start of the file. */
export interface ChunkSection {
  readonly baseOffset: number
  /** One past the last offset. */
  readonly endOffset: number
  /** Entries, end to end: from byteStart to byteEnd, not included. */
  readonly byteStart: number
  readonly byteEnd: number
  readonly indexStart: number
  readonly indexBytes: number
  readonly recordCount: number
  readonly minAppendTime: number
  readonly maxAppendTime: number
  /** SHA-256 over all entry headers, cut to 128 bits, as 32 hex digits: names the bytes of the section. */
  readonly digest: string
}

/** Adds up a section while its entries pass: when it is written, and again when it is verified. */
export class SectionBuilder {
  readonly topicId: TopicId
  readonly partition: number
  readonly byteStart: number
  readonly index: SparseIndexBuilder
  readonly #hash = createHash('sha256')
  #baseOffset = -1
  #endOffset = -1
  #byteEnd: number
  #recordCount = 0
  #minAppendTime = 0
  #maxAppendTime = 0

  constructor(options: {
    topicId: TopicId
    partition: number
    byteStart: number
    indexIntervalBytes: number
  }) {
    const { topicId, partition, byteStart, indexIntervalBytes } = options
    this.topicId = topicId
    this.partition = partition
    this.byteStart = byteStart
    this.#byteEnd = byteStart
    this.index = new SparseIndexBuilder({ topicId, partition, intervalBytes: indexIntervalBytes })
  }

  get isEmpty(): boolean {
    return this.#byteEnd === this.byteStart
  }

  /** Why an entry cannot come next; undefined when it can. */
  fault(header: EntryHeader): string | undefined {
    if (header.topicId !== this.topicId || header.partition !== this.partition) {
      return `an entry of ${header.topicId}/${header.partition} stands in a section of ${this.topicId}/${this.partition}`
    }
    if (header.baseOffset < this.#endOffset) {
      return `offset ${header.baseOffset} follows an entry that ends at ${this.#endOffset}`
    }
    if (header.appendTime < this.#maxAppendTime) {
      return `append time ${header.appendTime} follows ${this.#maxAppendTime}`
    }
    return undefined
  }

  /** `headerBytes` begins with the entry's header; `bytes` is the length of the whole entry. */
  add(headerBytes: Uint8Array, header: EntryHeader, bytes: number): void {
    if (this.isEmpty) {
      this.#baseOffset = header.baseOffset
      this.#minAppendTime = header.appendTime
    }
    this.index.add(header, this.#byteEnd)
    this.#hash.update(headerBytes.subarray(0, ENTRY_HEADER_BYTES))
    this.#byteEnd += bytes
    this.#endOffset = header.baseOffset + header.lastOffsetDelta + 1
    this.#recordCount += header.recordCount
    this.#maxAppendTime = header.appendTime
  }

  /** The section and the bytes of its index, which stands right after the entries. */
  finish(): { section: ChunkSection; index: Uint8Array } {
    if (this.isEmpty) throw new Error('a section holds at least one entry')
    const index = this.index.encode()
    const section = {
      baseOffset: this.#baseOffset,
      endOffset: this.#endOffset,
      byteStart: this.byteStart,
      byteEnd: this.#byteEnd,
      indexStart: this.#byteEnd,
      indexBytes: index.length,
      recordCount: this.#recordCount,
      minAppendTime: this.#minAppendTime,
      maxAppendTime: this.#maxAppendTime,
      digest: this.#hash.digest('hex').slice(0, 32),
    }
    return { section, index }
  }
}
