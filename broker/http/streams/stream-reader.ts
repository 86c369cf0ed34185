import { MillraceError } from '../../../protocol/error-codes.js'
import type { WireRecord } from '../../../protocol/record.js'
import type { Clock } from '../../platform/clock.js'
import type { Failpoints } from '../../platform/failpoints.js'
import type { ShardFace, TopicInfo } from '../../shard/shard-face.js'
import { isJson } from '../../shard/stream-changes.js'
import type { StreamInfo, StreamSegment, StreamsFace } from '../../shard/streams-face.js'
import type { Drain } from '../drain.js'
import type { PageReader } from '../page-reader.js'
import type { BatchPlace } from '../record-text.js'
import { jsonOfWire } from '../wire-codec.js'
import { offsetGone, offsetToken } from './stream-offset.js'

/** Values of a stream, in their order. */
export interface StreamPage {
  readonly values: readonly (string | Buffer)[]
  /** Where to go on. */
  readonly nextOffset: number
  /** The stream's end. */
  readonly endOffset: number
}

export interface Backing {
  readonly shard: ShardFace
  readonly streams: StreamsFace
  readonly failpoints?: Failpoints | undefined
}

export interface StreamReaderOptions {
  readonly pages: PageReader
  readonly clock: Clock
  readonly drain: Drain
}

/** Of one page: what one answer holds. */
const PAGE_RECORDS_MAX = 10_000

/** Reads streams: a fork's beginning where it stands, in the streams that it is a fork of. */
export class StreamReader {
  readonly #options: StreamReaderOptions

  constructor(options: StreamReaderOptions) {
    this.#options = options
  }

  /** The first offset that can be read. */
  startOf({ shard, streams }: Backing, { topicId }: StreamInfo): number {
    let start = 0
    for (const { topicId: at, from, to } of streams.segments(topicId)) {
      start = Math.max(from, shard.bounds(at, 0).startOffset)
      if (start < to) break
    }
    return start
  }

  /**
   * A page from `offset` on: at least one value, unless there is none. Rejects with OFFSET_GONE, OFFSET_OUT_OF_RANGE,
   * UNKNOWN_TOPIC, CORRUPT_DATA, and ENCODING_MISMATCH where a value of a JSON stream is no JSON.
   */
  async read(
    backing: Backing,
    stream: StreamInfo,
    { offset, maxBytes }: { offset: number; maxBytes: number },
  ): Promise<StreamPage> {
    const { shard, streams } = backing
    const endOffset = shard.bounds(stream.topicId, 0).durableEnd
    if (offset > endOffset)
      throw new MillraceError('OFFSET_OUT_OF_RANGE', {
        message: 'the stream does not reach so far: its end is in details',
        details: { endOffset: offsetToken(backing, stream, endOffset) },
      })
    const values: (string | Buffer)[] = []
    let nextOffset = offset
    let bytes = 0
    for (const segment of streams.segments(stream.topicId)) {
      while (
        nextOffset < Math.min(segment.to, endOffset) &&
        bytes < maxBytes &&
        values.length < PAGE_RECORDS_MAX
      ) {
        const page = await this.#readSegment(backing, stream, {
          segment,
          offset: nextOffset,
          limit: PAGE_RECORDS_MAX - values.length,
          maxBytes: maxBytes - bytes,
        })
        for (const value of page.values) {
          values.push(value)
          bytes += value.length
        }
        nextOffset = page.nextOffset
      }
    }
    return { values, nextOffset, endOffset: Math.max(endOffset, nextOffset) }
  }

  async #readSegment(
    backing: Backing,
    stream: StreamInfo,
    {
      segment,
      offset,
      limit,
      maxBytes,
    }: { segment: StreamSegment; offset: number; limit: number; maxBytes: number },
  ): Promise<{ values: (string | Buffer)[]; nextOffset: number }> {
    const { shard } = backing
    const { contentType } = stream
    const topic = topicOf(shard, segment)
    const page = await this.#options.pages
      .read<string | Buffer>({
        shard,
        topic,
        partition: 0,
        offset,
        limit: Math.min(limit, segment.to - offset),
        maxBytes,
        writer: isJson(contentType) ? jsonWriter : bytesWriter,
      })
      .catch((error: unknown) => {
        throw this.#typed(error, { backing, stream, isOwn: segment.topicId === stream.topicId })
      })
    const values = [...page.records]
    // Offsets that nobody got may lie between, so that the limit reaches too far.
    while (
      page.offsets[values.length - 1] !== undefined &&
      (page.offsets[values.length - 1] as number) >= segment.to
    )
      values.pop()
    const last = page.offsets[values.length - 1]
    const value = values.at(-1)
    if (segment.endBytes > 0 && last === segment.to - 1 && value instanceof Buffer)
      values[values.length - 1] = value.subarray(0, segment.endBytes)
    return { values, nextOffset: Math.min(page.nextOffset, segment.to) }
  }

  #typed(
    error: unknown,
    { backing, stream, isOwn }: { backing: Backing; stream: StreamInfo; isOwn: boolean },
  ): unknown {
    if (!(error instanceof MillraceError)) return error
    if (error.code === 'OFFSET_OUT_OF_RANGE')
      return offsetGone('what stood at the offset was deleted', {
        startOffset: offsetToken(backing, stream, this.startOf(backing, stream)),
        cause: error,
      })
    // A source stays while it has forks.
    if (error.code === 'UNKNOWN_TOPIC' && !isOwn) return new MillraceError('CORRUPT_DATA', { cause: error })
    return error
  }

  /** Resolves when the stream has more than up to `offset`, was closed or went; when the time is over, and at `signal`. */
  async moved(
    { shard, streams }: Backing,
    { topicId, name }: StreamInfo,
    { offset, ms, signal }: { offset: number; ms: number; signal: AbortSignal },
  ): Promise<void> {
    await new Promise<void>((resolve) => {
      const undo: (() => void)[] = []
      const wake = (): void => {
        for (const each of undo.splice(0)) each()
        resolve()
      }
      if (shard.topic(topicId) === undefined || signal.aborted) {
        wake()
        return
      }
      undo.push(shard.follow({ topicId, partition: 0 }, wake))
      const timer = this.#options.clock.setTimer(wake, ms, { unref: true })
      undo.push(() => timer.cancel())
      signal.addEventListener('abort', wake, { once: true })
      undo.push(() => signal.removeEventListener('abort', wake))
      undo.push(this.#options.drain.whenDraining(wake))
      // What came before this moment woke nobody.
      const isMore = shard.bounds(topicId, 0).durableEnd > offset
      if (isMore || streams.named(name)?.isClosed !== false) wake()
    })
  }
}

function topicOf(shard: ShardFace, { topicId }: StreamSegment): TopicInfo {
  const topic = shard.topic(topicId)
  if (topic !== undefined) return topic
  throw new MillraceError('UNKNOWN_TOPIC')
}

const jsonWriter =
  (_place: BatchPlace) =>
  ({ value }: WireRecord): string =>
    jsonOfWire(value, 'json')

/** Copies: what a page is read into is used again. */
const bytesWriter =
  (_place: BatchPlace) =>
  ({ value }: WireRecord): Buffer =>
    value === null ? Buffer.alloc(0) : Buffer.from(value)
