import { MillraceError } from '../../../protocol/error-codes.js'
import type { Clock } from '../../platform/clock.js'
import type { Random } from '../../platform/random.js'
import type { StreamInfo } from '../../shard/streams-face.js'
import { liveCursor } from './stream-cursor.js'
import { offsetToken } from './stream-offset.js'
import type { Backing, StreamPage, StreamReader } from './stream-reader.js'
import { bodyOf, isText } from './stream-reply.js'

export interface StreamEventsOptions {
  readonly backing: Backing
  readonly stream: StreamInfo
  readonly reader: StreamReader
  readonly clock: Clock
  readonly random: Random
  readonly from: number
  /** That the client sent. */
  readonly cursor: string | undefined
  /** Pause between signs of life. */
  readonly quietMs: number
  /** The client is gone, or the broker drains. */
  readonly signal: AbortSignal
}

/** What is read at once; a slow client holds one such page. */
const PAGE_BYTES = 256 * 1024
/** Then the client comes back with its last offset: so clients gather on what a proxy has, and none holds a connection for ever. */
const LIFE_MS = 60_000

/**
 * A stream as server-sent events: `data` with what it holds, and after each of them `control`, which says where to go on. It
 * ends when the stream is closed or gone.
 */
export class StreamEvents {
  readonly #options: StreamEventsOptions
  #offset: number

  constructor(options: StreamEventsOptions) {
    this.#options = options
    this.#offset = options.from
  }

  async *read(): AsyncGenerator<Buffer, void, undefined> {
    const { backing, stream, reader, clock, quietMs, signal } = this.#options
    const endsAtMs = clock.monotonic() + LIFE_MS
    for (;;) {
      const page = await this.#page()
      if (page === undefined) return
      // What it is now, and not before the page was read: closed, nothing comes behind that page.
      const isClosed = page.nextOffset >= page.endOffset && this.#isClosedAt(page.endOffset)
      const text = this.#textOf(page)
      yield Buffer.from(`${text}${this.#control(page, isClosed)}`)
      if (isClosed || signal.aborted) return
      if (page.nextOffset < page.endOffset) continue
      const leftMs = endsAtMs - clock.monotonic()
      if (leftMs <= 0) return
      await reader.moved(backing, stream, { offset: page.endOffset, ms: Math.min(quietMs, leftMs), signal })
      if (signal.aborted) return
    }
  }

  /** Undefined when the stream has gone. */
  async #page(): Promise<StreamPage | undefined> {
    const { backing, stream, reader } = this.#options
    const now = backing.streams.named(stream.name)
    if (now === undefined || now.isDeleted || now.topicId !== stream.topicId) return undefined
    backing.streams.accessed(stream.topicId)
    try {
      return await reader.read(backing, stream, { offset: this.#offset, maxBytes: PAGE_BYTES })
    } catch (error) {
      // Its status is long sent: the client asks again, and is told.
      if (error instanceof MillraceError) return undefined
      throw error
    }
  }

  #isClosedAt(endOffset: number): boolean {
    const { backing, stream } = this.#options
    const now = backing.streams.named(stream.name)
    return now?.topicId === stream.topicId && now.isClosed && now.endOffset === endOffset
  }

  /** The data event, if there is data; and the offset behind it. */
  #textOf(page: StreamPage): string {
    const { stream, backing } = this.#options
    if (backing.failpoints?.planted !== 'controlBehindItsData') this.#offset = page.nextOffset
    if (page.values.length === 0) return ''
    return event('data', bodyOf(stream, page).toString(isText(stream.contentType) ? 'utf8' : 'base64'))
  }

  #control({ endOffset }: StreamPage, isClosed: boolean): string {
    const { backing, stream, clock, random, cursor } = this.#options
    const streamNextOffset = offsetToken(backing, stream, this.#offset)
    if (isClosed) return event('control', JSON.stringify({ streamNextOffset, streamClosed: true }))
    const control = {
      streamNextOffset,
      streamCursor: liveCursor(cursor, { now: clock.now(), random }),
      ...(this.#offset >= endOffset ? { upToDate: true } : {}),
    }
    return event('control', JSON.stringify(control))
  }
}

/** Every line break that readers of events know begins a line of its own: nothing in a text ends an event. */
function event(name: string, data: string): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data:${line}\n`)
  return `event: ${name}\n${lines.join('')}\n`
}
