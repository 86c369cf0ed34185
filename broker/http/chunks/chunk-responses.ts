import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import { pipeline, Readable } from 'node:stream'
import { createGzip } from 'node:zlib'
import type { FastifyReply } from 'fastify'
import {
  COMPRESSION,
  COMPRESSION_MASK,
  ENTRY_HEADER_BYTES,
  readEntryHeader,
} from '../../../protocol/entry.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { LentSection, SectionPieces } from '../../chunks/lent-section.js'
import { EntrySlicer } from '../../groups/entry-slice.js'
import type { Logger } from '../../log.js'
import type { ChunkRow } from '../../manifest/rows.js'
import type { Clock } from '../../platform/clock.js'
import type { Metrics } from '../../platform/metrics.js'
import { typed } from '../../shard/read.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { type Coding, prefersGzip } from '../content-coding.js'
import type { Drain } from '../drain.js'
import { GZIP_LEVEL, type GzipPlaces } from '../gzip-places.js'
import type { HttpLimits } from '../limits.js'
import { whenClosed } from '../response-end.js'
import type { UnsentPages } from '../unsent-pages.js'
import { type ByteRange, rangeIn } from './byte-range.js'
import {
  CHUNK_TYPES,
  type ChunkFormat,
  cacheControl,
  entityTag,
  isRangeOf,
  lastModified,
  tagAtClient,
} from './chunk-caching.js'
import { chunkText } from './chunk-text.js'
import { PiecePump } from './piece-pump.js'

export interface ChunkResponsesOptions {
  readonly clock: Clock
  readonly metrics: Metrics
  readonly log: Logger
  readonly limits: HttpLimits
  readonly unsent: UnsentPages
  readonly drain: Drain
  readonly gzip: GzipPlaces
}

/** A chunk that somebody asked for. */
export interface ChunkAsked {
  readonly row: ChunkRow
  readonly topic: TopicInfo
  readonly format: ChunkFormat
  readonly headers: IncomingHttpHeaders
  readonly open: (row: ChunkRow) => Promise<LentSection>
}

/** What one response reads at a time; it holds two such pieces. */
const PIECE_BYTES = 256 * 1024

/** Answers requests for chunks: cacheable for good, streamed from the file with flat memory. */
export class ChunkResponses {
  readonly #options: ChunkResponsesOptions
  readonly #slicer = new EntrySlicer({ cacheBytesMax: 0 })

  constructor(options: ChunkResponsesOptions) {
    this.#options = options
  }

  /** Rejects, before anything is sent, with CHUNK_GONE, CORRUPT_DATA, STORAGE_FAILED, RANGE_NOT_SATISFIABLE. */
  async send(reply: FastifyReply, asked: ChunkAsked): Promise<FastifyReply> {
    try {
      return await this.#send(reply, asked)
    } catch (error) {
      throw typed(error)
    }
  }

  async #send(reply: FastifyReply, asked: ChunkAsked): Promise<FastifyReply> {
    const { row, format, headers } = asked
    const { metrics, clock } = this.#options
    const tags = (['identity', 'gzip'] as const).map((coding) => entityTag(row, format, coding))
    const modified = lastModified(row, clock.now())
    const known = tagAtClient(headers, { tags, modified })
    if (known !== undefined) {
      metrics.count('chunksRevalidated')
      return this.#describe(reply, asked, known).code(304).send()
    }
    const range = isWanted(reply, asked, modified) ? askedRange(reply, row, headers) : undefined
    const section = await asked.open(row)
    whenClosed(reply.raw, () => section.close())
    const coding = range === undefined ? await this.#codingFor(section, asked) : 'identity'
    if (format === 'native' && coding === 'identity') return this.#sendBytes(reply, asked, { section, range })
    return this.#sendStream(reply, asked, { section, coding })
  }

  /** All that caches and clients need to know of the chunk. Nothing in it may be wrong tomorrow. */
  #describe(reply: FastifyReply, { row, topic, format }: ChunkAsked, tag: string): FastifyReply {
    const { clock, limits } = this.#options
    const { section } = row
    return (
      reply
        .header('etag', tag)
        .header('last-modified', lastModified(row, clock.now()))
        .header('cache-control', cacheControl(topic, limits.chunkMaxAgeMs))
        .header('vary', 'Accept-Encoding, Origin')
        .header('x-content-type-options', 'nosniff')
        .header('millrace-base-offset', section.baseOffset)
        .header('millrace-next-offset', section.endOffset)
        // Whether there is more changes, and this answer does not.
        .header('millrace-up-to-date', 'false')
        .type(CHUNK_TYPES[format])
    )
  }

  async #sendBytes(
    reply: FastifyReply,
    asked: ChunkAsked,
    { section, range }: { section: LentSection; range: ByteRange | undefined },
  ): Promise<FastifyReply> {
    const { drain, metrics } = this.#options
    const { start, end } = range ?? { start: 0, end: section.bytes }
    const pump = isHead(reply) ? undefined : await this.#pumpOf(reply, section, { start, end })
    this.#describe(reply, asked, entityTag(asked.row, 'native', 'identity'))
      .header('accept-ranges', 'bytes')
      .header('content-length', end - start)
    if (range !== undefined)
      reply.code(206).header('content-range', `bytes ${start}-${end - 1}/${section.bytes}`)
    if (pump === undefined) return reply.send()
    metrics.count('chunksServed')
    if (drain.isDraining) reply.header('connection', 'close')
    reply.hijack()
    reply.raw.writeHead(reply.statusCode, reply.getHeaders() as OutgoingHttpHeaders)
    try {
      this.#sent(await pump.run())
    } catch (error) {
      this.#brokenOff(reply, error)
      reply.raw.destroy()
    }
    return reply
  }

  /** With its first piece read, while the status still can say what is wrong with it. */
  async #pumpOf(reply: FastifyReply, section: LentSection, range: ByteRange): Promise<PiecePump> {
    const { unsent } = this.#options
    const pieces = await section.pieces(range)
    const pieceBytes = Math.min(unsent.readBytesMax(PIECE_BYTES), range.end - range.start)
    unsent.add(2 * pieceBytes, reply.raw)
    const pump = new PiecePump(reply.raw, pieces, { pieceBytes })
    await pump.prepare()
    return pump
  }

  /** Text, or what is compressed on its way: nobody knows yet how long it will be. */
  async #sendStream(
    reply: FastifyReply,
    asked: ChunkAsked,
    { section, coding }: { section: LentSection; coding: Coding },
  ): Promise<FastifyReply> {
    const { row, topic, format } = asked
    const source =
      format === 'native'
        ? piecesOf(await section.pieces({ start: 0, end: section.bytes }))
        : chunkText(section, { topic, partition: row.partition, format, slicer: this.#slicer })
    // While the status still can say what is wrong with it.
    const first = isHead(reply) ? undefined : await source.next()
    this.#describe(reply, asked, entityTag(row, format, coding))
    if (coding === 'gzip') reply.header('content-encoding', 'gzip')
    if (first === undefined) return reply.send()
    this.#options.metrics.count('chunksServed')
    this.#sent(section.bytes)
    const bytes = Readable.from(behind(first, source), { objectMode: false })
    bytes.on('error', (error) => this.#brokenOff(reply, error))
    if (coding === 'identity') return reply.send(bytes)
    whenClosed(reply.raw, this.#options.gzip.take())
    const compressed = createGzip({ level: GZIP_LEVEL })
    pipeline(bytes, compressed, () => {})
    return reply.send(compressed)
  }

  async #codingFor(section: LentSection, { headers, format }: ChunkAsked): Promise<Coding> {
    if (!prefersGzip(headers['accept-encoding']) || !this.#options.gzip.isFree) return 'identity'
    return format === 'native' && (await isCompressed(section)) ? 'identity' : 'gzip'
  }

  #sent(bytes: number): void {
    this.#options.metrics.count('chunksServedBytes', bytes)
    this.#options.metrics.count('deliveredBytes', bytes)
  }

  #brokenOff(reply: FastifyReply, error: unknown): void {
    const { id: requestId } = reply.request
    this.#options.log.error(
      { err: error, requestId },
      'a chunk could not be sent whole: the response was cut',
    )
  }
}

const isHead = (reply: FastifyReply): boolean => reply.request.method === 'HEAD'

/** Text is made anew for each response, so ranges of it are not served. */
const isWanted = (reply: FastifyReply, { format, headers, row }: ChunkAsked, modified: string): boolean =>
  format === 'native' &&
  !isHead(reply) &&
  isRangeOf(headers, { tag: entityTag(row, 'native', 'identity'), modified })

/** Throws RANGE_NOT_SATISFIABLE. */
function askedRange(reply: FastifyReply, { section }: ChunkRow, headers: IncomingHttpHeaders) {
  const bytes = section.byteEnd - section.byteStart
  try {
    return rangeIn(headers.range, bytes)
  } catch (error) {
    if (error instanceof MillraceError) reply.header('content-range', `bytes */${bytes}`)
    throw error
  }
}

/** Whether the producers have compressed already: then gzip gains nothing. The first entry stands for all. */
async function isCompressed(section: LentSection): Promise<boolean> {
  const pieces = await section.pieces({ start: 0, end: ENTRY_HEADER_BYTES })
  const header = readEntryHeader(await pieces.next(Buffer.allocUnsafe(ENTRY_HEADER_BYTES)))
  return (header.attributes & COMPRESSION_MASK) !== COMPRESSION.none
}

/** Each in a buffer of its own: a stream may hold several. */
async function* piecesOf(pieces: SectionPieces): AsyncGenerator<Uint8Array, void, void> {
  for (;;) {
    const piece = await pieces.next(Buffer.allocUnsafe(PIECE_BYTES))
    if (piece.length === 0) return
    yield piece
  }
}

async function* behind<T>(
  first: IteratorResult<T, void>,
  rest: AsyncIterable<T>,
): AsyncGenerator<T, void, void> {
  if (first.done) return
  yield first.value
  yield* rest
}
