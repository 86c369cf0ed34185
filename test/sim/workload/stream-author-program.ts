import type { ClientProcess } from '../client-process.js'
import type { HttpAnswer, HttpLink } from '../http-link.js'
import type { Lab } from '../lab.js'
import { assertHttpPossible, requestSurely } from './http-calls.js'
import { payloadOf } from './payload.js'
import { recorded } from './recorded-writes.js'
import { bodyOf, nextOffsetIn, pathOf, type StreamShelf, tokenOf, type WorkStream } from './streams.js'
import { thinkMs } from './think.js'
import { persistently } from './topics.js'

/** What a stream that was deleted, or is being deleted, answers. */
const GONE = ['UNKNOWN_TOPIC', 'STREAM_DELETED']
/** What a producer is told that others have overtaken, or of which the broker knows less than it does. */
const OVERTAKEN = ['PRODUCER_EPOCH_STALE', 'SEQUENCE_GAP', 'ILLEGAL_ARGUMENT']

/** Makes streams and forks of them, appends to them under ids that others use, too, closes them and deletes them. */
export async function writeStreams(
  lab: Lab,
  process: ClientProcess,
  shelf: StreamShelf,
  link: HttpLink,
): Promise<void> {
  const author = new Author(lab, process, { shelf, link })
  const { random } = process
  const closeOdds = random.pick([0, 0.03, 0.1])
  while (!process.isEnding) {
    const { live } = shelf
    if (shelf.hasRoom && (live.length === 0 || random.chance(0.08))) await author.make()
    else if (live.length > 1 && random.chance(0.01)) await author.delete(random.pick(live))
    else if (live.length > 0) {
      const open = live.filter(({ isClosed }) => !isClosed)
      // Now and then to one that is closed, which must refuse it.
      const stream = random.pick(open.length === 0 || random.chance(0.1) ? live : open)
      await author.append(stream, { closes: random.chance(closeOdds) })
    }
    await process.sleep(2 * thinkMs(lab, random))
  }
}

/** Who appends to one stream. */
interface Producer {
  readonly id: string
  /** In the history. */
  readonly number: number
  readonly epoch: number
  seq: number
  /** Of this epoch, that the broker has taken. */
  records: number
}

class Author {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #shelf: StreamShelf
  readonly #link: HttpLink
  readonly #producers = new Map<WorkStream, Producer>()
  #values = 0

  constructor(lab: Lab, process: ClientProcess, of: { shelf: StreamShelf; link: HttpLink }) {
    this.#lab = lab
    this.#process = process
    this.#shelf = of.shelf
    this.#link = of.link
  }

  /** A new stream, or a fork, with records or without. */
  async make(): Promise<void> {
    const { random } = this.#process
    const { live } = this.#shelf
    const source = live.length > 0 && random.chance(0.5) ? random.pick(live) : undefined
    const fork = source && { source, offset: random.below(source.endOffset + 1) }
    const isJson = source?.isJson ?? random.chance(0.5)
    const stream = this.#shelf.next(this.#lab, { isJson, ...(fork && { fork }) })
    // Of a body without parts all bytes are one record.
    const values = this.#newValues(random.below(isJson ? 3 : 2))
    const closes = random.chance(0.05)
    const headers = {
      'content-type': typeOf(stream),
      ...(closes && { 'stream-closed': 'true' }),
      ...(fork && {
        'stream-forked-from': pathOf(fork.source),
        'stream-fork-offset': tokenOf(fork.source, fork.offset),
      }),
    }
    const bytes = values.length === 0 ? undefined : this.#body(stream, values)
    const put = { method: 'PUT', path: pathOf(stream), headers, bytes }
    const outcome = await recorded(
      this.#lab.history,
      {
        type: 'write',
        process: this.#process.name,
        // However often it is asked for.
        stream: `beginning of ${stream.name}`,
        ...this.#records(stream, values),
        ...(closes && { closes: stream.name }),
      },
      () => persistently(this.#process, () => requestSurely(this.#process, this.#link, put)),
      // Nobody else knows of it: behind its own records there is nothing.
      () => values.map((_value, i) => ({ partition: 0, offset: stream.ownFrom + i })),
    )
    if ('error' in outcome) {
      const codes =
        source === undefined || source.gone === 'no' ? [] : [...GONE, 'TOPIC_EXISTS', 'TOPIC_MISMATCH']
      assertHttpPossible(outcome.error, codes)
      return
    }
    stream.endOffset = nextOffsetIn(stream, outcome.answer)
    stream.isClosed = closes
    this.#shelf.streams.push(stream)
  }

  async delete(stream: WorkStream): Promise<void> {
    stream.gone = 'maybe'
    this.#lab.history.record({ type: 'topicGone', topicId: stream.name })
    const { path, method } = { path: pathOf(stream), method: 'DELETE' }
    await persistently(this.#process, () =>
      // An attempt whose answer was lost may have done it.
      requestSurely(this.#process, this.#link, { method, path }).catch((error: unknown) =>
        assertHttpPossibleOr(error, GONE),
      ),
    )
    stream.gone = 'surely'
  }

  /** Records, or what closes the stream, or both. */
  async append(stream: WorkStream, { closes }: { closes: boolean }): Promise<void> {
    const { random, name } = this.#process
    // Without an id it is sent once.
    const producer = random.chance(0.15) ? undefined : this.#producerOf(stream)
    const least = closes && random.chance(0.5) ? 0 : 1
    const values = this.#newValues(stream.isJson ? least + random.below(3) : least)
    if (values.length === 0 && !closes) return
    const outcome = await recorded(
      this.#lab.history,
      {
        type: 'write',
        process: name,
        ...this.#records(stream, values),
        ...(closes && { closes: stream.name }),
        ...(producer && {
          producer: { id: producer.number, epoch: producer.epoch, sequence: producer.records },
        }),
      },
      () => this.#send(stream, { values, closes, producer }),
      (answer) => placesOf(answer, { stream, values, producer }),
    )
    if ('error' in outcome) return this.#refused(stream, producer, outcome.error)
    stream.endOffset = Math.max(stream.endOffset, nextOffsetIn(stream, outcome.answer))
    if (closes) stream.isClosed = true
    if (producer === undefined) return
    producer.seq++
    producer.records += values.length
    if (producer.seq > 1) return
    const { number: producerId, epoch } = producer
    this.#lab.history.record({ type: 'producer', process: name, producerId, epoch })
  }

  #send(
    stream: WorkStream,
    {
      values,
      closes,
      producer,
    }: { values: readonly string[]; closes: boolean; producer: Producer | undefined },
  ): Promise<HttpAnswer> {
    const append = {
      method: 'POST',
      path: pathOf(stream),
      headers: {
        'content-type': typeOf(stream),
        ...(closes && { 'stream-closed': 'true' }),
        ...(producer && {
          'producer-id': producer.id,
          'producer-epoch': String(producer.epoch),
          'producer-seq': String(producer.seq),
        }),
      },
      bytes: values.length === 0 ? undefined : this.#body(stream, values),
    }
    const attempts = producer === undefined ? 1 : undefined
    return requestSurely(this.#process, this.#link, append, attempts)
  }

  /** Throws what nobody may be told. */
  #refused(stream: WorkStream, producer: Producer | undefined, error: unknown): void {
    const { code = '', outcome } = error as { code?: string; outcome?: string }
    assertHttpPossible(error, [
      'STREAM_CLOSED',
      ...(producer === undefined ? [] : OVERTAKEN),
      ...(stream.gone === 'no' ? [] : GONE),
    ])
    if (code === 'STREAM_CLOSED') stream.isClosed = true
    // What may have been written has taken its sequence. A fenced one may try again, which must change nothing.
    const isOver = outcome !== 'notWritten' || (OVERTAKEN.includes(code) && this.#process.random.chance(0.7))
    if (isOver) this.#producers.delete(stream)
  }

  #producerOf(stream: WorkStream): Producer {
    const known = this.#producers.get(stream)
    if (known !== undefined) return known
    const id = this.#process.random.pick(['ada', 'bob'])
    const number = this.#shelf.numberOf(stream, id)
    const producer = { id, number, epoch: this.#shelf.nextEpoch(stream, id), seq: 0, records: 0 }
    this.#producers.set(stream, producer)
    return producer
  }

  #newValues(count: number): string[] {
    return Array.from({ length: count }, () => `${this.#process.name}/s${this.#values++}`)
  }

  #records({ name }: WorkStream, values: readonly string[]) {
    const records = values.map((value) => ({ topicId: name, partition: 0, value }))
    // Those of one body are there together.
    return { records, ...(values.length > 1 && { atomic: true }) }
  }

  #body(stream: WorkStream, values: readonly string[]): Buffer {
    const { random } = this.#process
    return bodyOf(
      stream,
      values.map((value) => payloadOf(value, random.pick([0, 100, 1_000]))),
    )
  }
}

const typeOf = ({ isJson }: WorkStream): string => (isJson ? 'application/json' : 'text/plain')

/** Undefined where an earlier attempt had done it: then the answer says where the stream ends, and not where it was written. */
function placesOf(
  answer: HttpAnswer,
  {
    stream,
    values,
    producer,
  }: { stream: WorkStream; values: readonly string[]; producer: Producer | undefined },
) {
  if (values.length === 0 || (producer !== undefined && answer.status === 204)) return undefined
  const base = nextOffsetIn(stream, answer) - values.length
  return values.map((_value, i) => ({ partition: 0, offset: base + i }))
}

function assertHttpPossibleOr(error: unknown, codes: readonly string[]): void {
  if (!codes.includes((error as { code?: string }).code ?? '')) throw error
}
