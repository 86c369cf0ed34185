import { COMPRESSION, COMPRESSION_MASK } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { WireRecord } from '../../protocol/record.js'
import { decodeRecords } from '../../protocol/records.js'
import { EntrySlicer, type EntryView, entriesIn } from '../groups/entry-slice.js'
import type { Clock } from '../platform/clock.js'
import type { Metrics } from '../platform/metrics.js'
import type { ReadResult, ShardFace, TopicInfo } from '../shard/shard-face.js'
import type { Drain } from './drain.js'
import type { HttpLimits } from './limits.js'
import { type BatchPlace, recordWriter } from './record-text.js'

export interface PageRequest<R = string> {
  readonly shard: ShardFace
  readonly topic: TopicInfo
  readonly partition: number
  readonly offset: number
  /** At most so many records. */
  readonly limit: number
  /** Stored bytes to look through, about. */
  readonly maxBytes: number
  /** How records are written; as `recordWriter` does, unless another is given. */
  readonly writer?: (place: BatchPlace) => (record: WireRecord) => R
}

/** Some records of a partition, in their order. */
export interface Page<R = string> {
  /** Each as JSON, on one line, unless the request has another writer. */
  readonly records: readonly R[]
  /** Of each of them. */
  readonly offsets: readonly number[]
  /** Where to go on. */
  readonly nextOffset: number
  readonly startOffset: number
  readonly endOffset: number
}

export interface PageReaderOptions {
  readonly clock: Clock
  readonly metrics: Metrics
  readonly drain: Drain
  readonly limits: HttpLimits
}

/** Inflated batches that are kept for the next page out of them. */
const SLICE_CACHE_BYTES_MAX = 8 * 1024 * 1024

/** Reads partitions page by page for those who take JSON. */
export class PageReader {
  readonly #options: PageReaderOptions
  readonly #slicer = new EntrySlicer({ cacheBytesMax: SLICE_CACHE_BYTES_MAX })

  constructor(options: PageReaderOptions) {
    this.#options = options
  }

  /**
   * A page from `offset` on: at least one record, unless there is none up to the durable end. Rejects with UNKNOWN_TOPIC,
   * UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE, CORRUPT_DATA, and with ENCODING_MISMATCH when the first record there is
   * cannot be said in JSON: a page ends before such a record.
   */
  async read<R = string>(request: PageRequest<R>): Promise<Page<R>> {
    const { metrics, clock } = this.#options
    const startMs = clock.monotonic()
    let { offset } = request
    for (;;) {
      const page = await this.#readOnce({ ...request, offset })
      // Nothing but records that were left out or compacted away.
      if (page.records.length === 0 && page.nextOffset < page.endOffset) {
        offset = page.nextOffset
        continue
      }
      metrics.observe('fetchMs', clock.monotonic() - startMs)
      metrics.count('deliveredRecords', page.records.length)
      return page
    }
  }

  /** As `read`, but where there is no record yet it waits for one, for `waitMs` or until `signal`. */
  async readOrWait(
    request: PageRequest,
    { waitMs, signal }: { waitMs: number; signal: AbortSignal },
  ): Promise<Page> {
    const { clock } = this.#options
    const deadlineMs = clock.monotonic() + waitMs
    for (;;) {
      const page = await this.read(request)
      const leftMs = deadlineMs - clock.monotonic()
      if (page.records.length > 0 || leftMs <= 0 || signal.aborted || this.#options.drain.isDraining)
        return page
      await this.#moved(request, page.endOffset, { ms: leftMs, signal })
    }
  }

  /** Resolves when the partition's end has moved past `endOffset` or its topic went, when the time is over, or at `signal`. */
  async #moved(
    { shard, topic, partition }: PageRequest,
    endOffset: number,
    { ms, signal }: { ms: number; signal: AbortSignal },
  ): Promise<void> {
    const { topicId } = topic
    await new Promise<void>((resolve, reject) => {
      const undo: (() => void)[] = []
      const wake = (): void => {
        for (const each of undo.splice(0)) each()
        resolve()
      }
      try {
        undo.push(shard.follow({ topicId, partition }, wake))
      } catch (error) {
        reject(error)
        return
      }
      const timer = this.#options.clock.setTimer(wake, ms, { unref: true })
      undo.push(() => timer.cancel())
      signal.addEventListener('abort', wake, { once: true })
      undo.push(() => signal.removeEventListener('abort', wake))
      undo.push(this.#options.drain.whenDraining(wake))
      // What came between the read and this moment woke nobody.
      if (shard.bounds(topicId, partition).durableEnd !== endOffset) wake()
    })
  }

  async #readOnce<R>(request: PageRequest<R>): Promise<Page<R>> {
    const { shard, topic, partition, offset, maxBytes } = request
    const read = await shard.read({ topicId: topic.topicId, partition, offset, maxBytes })
    try {
      this.#options.metrics.count('deliveredBytes', read.bytes)
      return await this.#page(request, read)
    } finally {
      read.release()
    }
  }

  async #page<R>(request: PageRequest<R>, read: ReadResult): Promise<Page<R>> {
    const { topic, partition, offset, limit } = request
    // Text is what records are for those who do not say.
    const writer = request.writer ?? (recordWriter as unknown as NonNullable<PageRequest<R>['writer']>)
    const { startOffset, durableEnd: endOffset } = read
    const records: R[] = []
    const offsets: number[] = []
    const pageTo = (nextOffset: number): Page<R> => ({ records, offsets, nextOffset, startOffset, endOffset })
    let nextOffset = offset
    for (const entry of entriesIn(read.buffers)) {
      const { baseOffset, baseTimestamp, appendTime } = entry.header
      const write = writer({ ...topic, topic: topic.name, partition, baseOffset, baseTimestamp, appendTime })
      const from = Math.max(offset, entry.from)
      for (const record of await this.#recordsIn(entry, { from, max: limit - records.length })) {
        const at = baseOffset + record.offsetDelta
        if (at < from) continue
        // More of the entry than asked for may have been read.
        if (records.length === limit) return pageTo(nextOffset)
        const text = textOf(record, { write, topic, partition, offset: at })
        if (text instanceof MillraceError) {
          if (records.length === 0) throw text
          return pageTo(at)
        }
        records.push(text)
        offsets.push(at)
        nextOffset = at + 1
      }
      if (records.length === limit && nextOffset < entry.to) return pageTo(nextOffset)
      nextOffset = entry.to
      if (records.length === limit) break
    }
    return pageTo(Math.max(nextOffset, offset))
  }

  /** Records of an entry from an offset on, `max` of them or all: where all are asked for, in place. */
  async #recordsIn(entry: EntryView, { from, max }: { from: number; max: number }): Promise<WireRecord[]> {
    const { header, payload, omitted } = entry
    const isPlain = (header.attributes & COMPRESSION_MASK) === COMPRESSION.none
    if (isPlain && from === entry.from && max >= header.recordCount)
      return decodeRecords(payload, header.recordCount, omitted)
    // Where offsets have gaps, nobody knows without looking how far so many records reach.
    const isDense = omitted === undefined && header.recordCount === entry.to - entry.from
    const to = isDense ? Math.min(entry.to, from + max) : entry.to
    const { parts, recordCount } = await this.#slicer.slice(entry, [{ from, to }])
    return decodeRecords(Buffer.concat(parts), recordCount)
  }
}

/** The record's line, or why it has none. */
function textOf<R>(
  record: WireRecord,
  {
    write,
    topic,
    partition,
    offset,
  }: { write: (record: WireRecord) => R; topic: TopicInfo; partition: number; offset: number },
): R | MillraceError {
  try {
    return write(record)
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    return new MillraceError(error.code, {
      message: `topic "${topic.name}", partition ${partition}, offset ${offset}: ${error.message}`,
      details: { ...error.details, partition, offset },
      cause: error,
    })
  }
}
