import type { HistoryRecorder } from '../../checker/recorder.js'
import type { ClientProcess } from '../client-process.js'
import type { HttpAnswer, HttpLink } from '../http-link.js'
import type { Lab } from '../lab.js'
import { EventText } from './event-text.js'
import { assertHttpPossible, HttpError, requestSurely } from './http-calls.js'
import {
  nextOffsetIn,
  offsetIn,
  pathOf,
  recordsIn,
  type StreamShelf,
  tokenOf,
  type WorkStream,
} from './streams.js'
import { thinkMs } from './think.js'
import { isPassing, persistently } from './topics.js'

const GONE = ['UNKNOWN_TOPIC', 'STREAM_DELETED']

/** Reads streams from their beginning, page by page, waiting at the end, or as events; and asks where they end. */
export async function readStreams(
  lab: Lab,
  process: ClientProcess,
  shelf: StreamShelf,
  link: HttpLink,
): Promise<void> {
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const { live } = shelf
    if (live.length > 0) {
      const reading = new StreamReading(lab, process, { stream: random.pick(live), link, round })
      await reading.run()
    }
    await process.sleep(5 + thinkMs(lab, random))
  }
}

/** What an answer, or an event, says of a stream. */
export interface Told {
  readonly from: number
  readonly next: number
  readonly body: string
  /** undefined: not said. */
  readonly isClosed: boolean | undefined
  /** As for `bounds`. */
  readonly since: number
}

/** One reader of one stream, which goes on where it was when its connection or the broker goes. */
class StreamReading {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #stream: WorkStream
  readonly #link: HttpLink
  readonly #reader: string
  #next = 0
  #isOver = false

  constructor(
    lab: Lab,
    process: ClientProcess,
    { stream, link, round }: { stream: WorkStream; link: HttpLink; round: number },
  ) {
    this.#lab = lab
    this.#process = process
    this.#stream = stream
    this.#link = link
    this.#reader = `${process.name}/${round}`
  }

  get #token(): string {
    return tokenOf(this.#stream, this.#next)
  }

  async run(): Promise<void> {
    const { random } = this.#process
    const isEvents = random.chance(0.4)
    for (let left = 1 + random.below(12); left > 0 && !this.#isOver && !this.#process.isEnding; left--) {
      try {
        if (isEvents) await this.#follow()
        else if (random.chance(0.2)) await this.#head()
        else await this.#page()
      } catch (error) {
        this.#failed(error)
      }
      await this.#process.sleep(1 + thinkMs(this.#lab, random))
    }
  }

  async #page(): Promise<void> {
    const since = this.#lab.history.next
    const isLive = this.#process.random.chance(0.4)
    const path = `${pathOf(this.#stream)}?offset=${this.#token}${isLive ? '&live=long-poll' : ''}`
    const answer = await requestSurely(this.#process, this.#link, { method: 'GET', path })
    this.#told(toldBy(this.#stream, answer, { from: this.#next, since }))
  }

  async #head(): Promise<void> {
    const since = this.#lab.history.next
    const answer = await this.#link.request({ method: 'HEAD', path: pathOf(this.#stream) })
    // It cannot say why.
    if (answer.status >= 300) return
    const isClosed = answer.headers.get('stream-closed') === 'true'
    recordEnd(this.#lab.history, this.#stream, {
      endOffset: nextOffsetIn(this.#stream, answer),
      isClosed,
      since,
    })
  }

  /** Data counts with the event behind it, which says where to go on. */
  async #follow(): Promise<void> {
    const since = this.#lab.history.next
    const text = new EventText()
    const { random } = this.#process
    const leaveOdds = random.pick([0, 0.1])
    let body = ''
    const path = `${pathOf(this.#stream)}?offset=${this.#token}&live=sse`
    const answer = await this.#link.follow({ method: 'GET', path }, (bytes) => {
      for (const { name, data } of text.take(bytes)) {
        if (name === 'data') body += data
        else {
          const { streamNextOffset, streamClosed = false, upToDate = false } = JSON.parse(data) as Control
          const isClosed = streamClosed ? true : upToDate ? false : undefined
          const next = offsetIn(this.#stream, streamNextOffset)
          this.#told({ from: this.#next, next, body, isClosed, since })
          body = ''
        }
      }
      return random.chance(leaveOdds) || this.#process.isEnding
    })
    if (answer !== undefined && answer.status >= 300) throw new HttpError(answer)
  }

  #told(told: Told): void {
    recordRead(this.#lab.history, this.#stream, { ...told, reader: this.#reader })
    this.#next = told.next
    this.#stream.endOffset = Math.max(this.#stream.endOffset, told.next)
    if (told.isClosed) this.#isOver = true
  }

  /** Throws what nobody may be told. */
  #failed(error: unknown): void {
    const { code, details } = error as HttpError
    if (isPassing(error)) return
    this.#isOver = true
    const isGone = this.#stream.gone !== 'no'
    if (code === 'OFFSET_OUT_OF_RANGE' && typeof details.endOffset === 'string') {
      // It was there: the checker says so.
      const endOffset = offsetIn(this.#stream, details.endOffset)
      this.#lab.history.record({ ...placeOf(this.#stream), type: 'bounds', startOffset: 0, endOffset })
      return
    }
    assertHttpPossible(error, isGone ? GONE : [])
  }
}

/** The last word on a stream, or that it is gone. */
export async function readToItsEnd(
  lab: Lab,
  process: ClientProcess,
  { stream, link }: { stream: WorkStream; link: HttpLink },
): Promise<void> {
  if (stream.gone === 'maybe') return
  const { history } = lab
  for (let from = 0, isAtEnd = false; !isAtEnd; ) {
    const since = history.next
    const get = {
      method: 'GET',
      path: `${pathOf(stream)}?offset=${from === 0 ? '-1' : tokenOf(stream, from)}`,
    }
    try {
      const answer = await persistently(process, () => requestSurely(process, link, get))
      if (stream.gone === 'surely') throw new Error(`stream "${stream.name}" was deleted and is there`)
      const { next, body, isClosed } = toldBy(stream, answer, { from, since })
      const records = recordsIn(stream, body, from)
      const place = placeOf(stream)
      history.record({ type: 'log', ...place, startOffset: from, endOffset: next, records })
      if (isClosed !== undefined)
        history.record({ type: 'streamEnd', ...place, endOffset: next, isClosed, since })
      from = next
      isAtEnd = isClosed !== undefined
    } catch (error) {
      const { code = '' } = error as { code?: string }
      if (stream.gone !== 'surely' || !GONE.includes(code)) throw error
      return
    }
  }
}

interface Control {
  readonly streamNextOffset: string
  readonly streamClosed?: boolean
  readonly upToDate?: boolean
}

const placeOf = ({ name }: WorkStream) => ({ topicId: name, partition: 0 })

/** What a page says. */
export function toldBy(
  stream: WorkStream,
  answer: HttpAnswer,
  { from, since }: { from: number; since: number },
): Told {
  const isUpToDate = answer.headers.get('stream-up-to-date') === 'true'
  const isClosed = answer.headers.get('stream-closed') === 'true' || (isUpToDate ? false : undefined)
  return { from, next: nextOffsetIn(stream, answer), body: answer.bytes.toString(), isClosed, since }
}

export function recordRead(
  history: HistoryRecorder,
  stream: WorkStream,
  { reader, from, next, body, isClosed, since }: Told & { reader: string },
): void {
  const records = recordsIn(stream, body, from)
  history.record({ type: 'read', reader, ...placeOf(stream), from, next, records })
  if (isClosed !== undefined) recordEnd(history, stream, { endOffset: next, isClosed, since })
}

/** Where a stream ends is where its partition ends. */
export function recordEnd(
  history: HistoryRecorder,
  stream: WorkStream,
  end: { endOffset: number; isClosed: boolean; since: number },
): void {
  const { endOffset, since } = end
  history.record({ type: 'bounds', ...placeOf(stream), startOffset: 0, endOffset, since })
  history.record({ type: 'streamEnd', ...placeOf(stream), ...end })
}
