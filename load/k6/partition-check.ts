import type { EntryHeader } from '../../protocol/entry.js'
import type { Measures } from './measures.js'

/**
 * Follows one partition entry by entry and reports what is missing and what comes twice: by offsets, and by the
 * sequences of each producer, which would show a batch that was written twice or never.
 */
export class PartitionCheck {
  readonly #name: string
  readonly #measures: Measures
  /** By producer id and epoch: the sequence that must come next. */
  readonly #sequences = new Map<string, number>()
  #nextOffset: number
  #isFirst = true

  constructor(options: { name: string; offset: number; measures: Measures }) {
    this.#name = options.name
    this.#nextOffset = options.offset
    this.#measures = options.measures
  }

  /** The offset that must come next. */
  get nextOffset(): number {
    return this.#nextOffset
  }

  /** Takes the next entry as it came, and returns how many of its records are new to this reader. */
  take(header: EntryHeader): number {
    const end = header.baseOffset + header.lastOffsetDelta + 1
    const records = end - Math.max(header.baseOffset, this.#nextOffset)
    // Only the very first entry of a subscription may begin below the asked offset.
    const mayBeginBelow = this.#isFirst && end > this.#nextOffset
    if (header.baseOffset > this.#nextOffset) {
      this.#wrong('gap', `expected offset ${this.#nextOffset}, got ${header.baseOffset}`)
      this.#sequences.clear()
      this.#takeSequence(header)
    } else if (header.baseOffset < this.#nextOffset && !mayBeginBelow) {
      this.#wrong('repeat', `expected offset ${this.#nextOffset}, got ${header.baseOffset} again`)
    } else {
      this.#takeSequence(header)
    }
    if (header.recordCount !== header.lastOffsetDelta + 1) {
      this.#wrong('gap', `${header.recordCount} records over ${header.lastOffsetDelta + 1} offsets`)
    }
    this.#isFirst = false
    this.#nextOffset = Math.max(this.#nextOffset, end)
    return Math.max(0, records)
  }

  #takeSequence(header: EntryHeader): void {
    if (header.producerId === 0) return
    const producer = `${header.producerId}.${header.producerEpoch}`
    const expected = this.#sequences.get(producer)
    if (expected !== undefined && header.baseSequence !== expected) {
      const kind = header.baseSequence > expected ? 'gap' : 'repeat'
      this.#wrong(kind, `producer ${producer}: expected sequence ${expected}, got ${header.baseSequence}`)
    }
    this.#sequences.set(producer, header.baseSequence + header.recordCount)
  }

  #wrong(kind: 'gap' | 'repeat', detail: string): void {
    this.#measures.wrong(kind, `${this.#name}: ${detail}`)
  }
}
