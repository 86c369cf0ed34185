import { crc32 } from '#crc32'
import { ENTRY_HEADER_BYTES, NO_PRODUCER_ID, writeEntryHeader } from '../../protocol/entry.js'
import { writeSection } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { Produce } from '../../protocol/messages/produce.js'

interface Entry {
  readonly baseOffset: number
  readonly nextOffset: number
  readonly appendTime: number
  readonly bytes: Uint8Array
}

interface WrittenBatch {
  readonly baseSequence: number
  readonly recordCount: number
  readonly baseOffset: number
  readonly appendTime: number
}

interface ProducerState {
  epoch: number
  nextSequence: number
  batches: WrittenBatch[]
}

const WINDOW_BATCHES = 16

/** One partition in memory, with the broker's rules for repeated, missing and fenced batches. */
export class ScriptedLog {
  readonly #topicId: TopicId
  readonly #partition: number
  readonly #producers = new Map<number, ProducerState>()
  entries: Entry[] = []
  startOffset = 0
  end = 0

  constructor(topicId: TopicId, partition: number) {
    this.#topicId = topicId
    this.#partition = partition
  }

  /**
   * `omittedBy` is called for a batch that is not a repetition: it may refuse the batch, or say by a bitmap which of its records
   * are not to be part of the log.
   */
  append(
    batch: Produce,
    time: number,
    omittedBy: () => Uint8Array | undefined = () => undefined,
  ): { baseOffset: number; appendTime: number; duplicate: boolean } {
    if (crc32(batch.payload) !== batch.payloadCrc) throw new MillraceError('BAD_CRC')
    const state = this.#stateOf(batch)
    const written = state?.batches.find(({ baseSequence }) => baseSequence === batch.baseSequence)
    if (written !== undefined) {
      if (written.recordCount !== batch.recordCount) throw new Error('a sequence was given twice')
      return { baseOffset: written.baseOffset, appendTime: written.appendTime, duplicate: true }
    }
    if (state !== undefined && batch.baseSequence < state.nextSequence)
      throw new MillraceError('DUPLICATE_TOO_OLD')
    if (state !== undefined && batch.baseSequence > state.nextSequence)
      throw new MillraceError('SEQUENCE_GAP')
    const baseOffset = this.end
    this.#store(batch, baseOffset, time, omittedBy())
    this.end += batch.recordCount
    if (state !== undefined) {
      state.nextSequence += batch.recordCount
      const { baseSequence, recordCount } = batch
      state.batches = [...state.batches, { baseSequence, recordCount, baseOffset, appendTime: time }].slice(
        -WINDOW_BATCHES,
      )
    }
    return { baseOffset, appendTime: time, duplicate: false }
  }

  #stateOf({ producerId, producerEpoch }: Produce): ProducerState | undefined {
    if (producerId === null) return undefined
    const state = this.#producers.get(producerId)
    if (state?.epoch === producerEpoch) return state
    const fresh = { epoch: producerEpoch, nextSequence: 0, batches: [] }
    this.#producers.set(producerId, fresh)
    return fresh
  }

  /** As a broker that lost what it knew of producers. */
  forgetProducers(): void {
    this.#producers.clear()
  }

  #store(batch: Produce, baseOffset: number, appendTime: number, omitted: Uint8Array | undefined): void {
    const section = writeSection({ ids: undefined, omitted })
    const bytes = new Uint8Array(ENTRY_HEADER_BYTES + section.length + batch.payload.length)
    writeEntryHeader(bytes, 0, {
      attributes: batch.attributes,
      payloadCrc: batch.payloadCrc,
      topicId: this.#topicId,
      partition: this.#partition,
      baseOffset,
      lastOffsetDelta: batch.recordCount - 1,
      recordCount: batch.recordCount,
      appendTime,
      baseTimestamp: batch.baseTimestamp,
      producerId: batch.producerId ?? NO_PRODUCER_ID,
      producerEpoch: batch.producerEpoch,
      baseSequence: batch.baseSequence,
      sectionBytes: section.length,
      sectionCrc: section.length === 0 ? 0 : crc32(section),
      payloadBytes: batch.payload.length,
      inflatedBytes: batch.inflatedBytes,
    })
    bytes.set(section, ENTRY_HEADER_BYTES)
    bytes.set(batch.payload, ENTRY_HEADER_BYTES + section.length)
    this.entries.push({ baseOffset, nextOffset: baseOffset + batch.recordCount, appendTime, bytes })
  }

  /** Whole entries from the one that holds `offset` on: at least one, if there is one. */
  read(offset: number, bytesMax: number): { entries: Uint8Array; nextOffset: number } {
    this.assertInRange(offset)
    let nextOffset = offset
    let length = 0
    const parts: Uint8Array[] = []
    for (const entry of this.#entriesFrom(offset)) {
      if (parts.length > 0 && length + entry.bytes.length > bytesMax) break
      parts.push(entry.bytes)
      length += entry.bytes.length
      nextOffset = entry.nextOffset
    }
    return { entries: new Uint8Array(Buffer.concat(parts)), nextOffset }
  }

  *#entriesFrom(offset: number): Generator<Entry> {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.entries[middle] as Entry).nextOffset <= offset) low = middle + 1
      else high = middle
    }
    for (let i = low; i < this.entries.length; i++) yield this.entries[i] as Entry
  }

  assertInRange(offset: number): void {
    if (offset >= this.startOffset && offset <= this.end) return
    throw new MillraceError('OFFSET_OUT_OF_RANGE', {
      details: { startOffset: this.startOffset, endOffset: this.end },
    })
  }

  offsetAt(time: number): number {
    return this.entries.find(({ appendTime }) => appendTime >= time)?.baseOffset ?? this.end
  }

  deleteBefore(offset: number): void {
    this.startOffset = offset
    this.entries = this.entries.filter(({ nextOffset }) => nextOffset > offset)
  }
}
