import type { Seen } from '../../checker/history.js'
import type { HttpAnswer } from '../http-link.js'
import type { Lab } from '../lab.js'
import { nameOf } from './payload.js'

/** A stream of the Durable Streams protocol. Its path is its id in the history: no path is used twice in a run. */
export interface WorkStream {
  readonly name: string
  readonly isJson: boolean
  /** Undefined: it is no fork. */
  readonly source: WorkStream | undefined
  /** Its first own offset, if it is a fork. */
  readonly ownFrom: number
  /** Offsets as somebody was told them. */
  readonly tokens: Map<number, string>
  /** How its own end, once somebody was told one. */
  tokenEnd: string | undefined
  /** It reaches at least so far. */
  endOffset: number
  /** Somebody was told that it is closed. */
  isClosed: boolean
  /** Somebody is about to delete it, or has. */
  gone: 'no' | 'maybe' | 'surely'
}

/** So many in one run: enough for forks of forks. */
const STREAMS_MAX = 7

/** The streams of one workload, and the names under which they are written to. */
export class StreamShelf {
  /** Those that are surely there, or were. */
  readonly streams: WorkStream[] = []
  readonly #numbers = new Map<string, number>()
  readonly #epochs = new Map<string, number>()
  #names = 0

  get hasRoom(): boolean {
    return this.#names < STREAMS_MAX
  }

  get live(): WorkStream[] {
    return this.streams.filter(({ gone }) => gone === 'no')
  }

  /** One that is about to be made; to be put on the shelf once it is there. */
  next(
    lab: Lab,
    { isJson, fork }: { isJson: boolean; fork?: { source: WorkStream; offset: number } },
  ): WorkStream {
    const name = `shelf/${++this.#names}`
    lab.history.record({
      type: 'topic',
      topicId: name,
      name,
      partitions: 1,
      ...(fork && { fork: { topicId: fork.source.name, offset: fork.offset } }),
    })
    const ownFrom = fork?.offset ?? 0
    const source = fork?.source
    return {
      name,
      isJson,
      source,
      ownFrom,
      tokens: new Map(),
      tokenEnd: undefined,
      endOffset: ownFrom,
      isClosed: false,
      gone: 'no',
    }
  }

  /** The number of a producer in the history, apart from those that the broker gives to others. */
  numberOf({ name }: WorkStream, producerId: string): number {
    const key = `${name} ${producerId}`
    const number = this.#numbers.get(key) ?? -1 - this.#numbers.size
    this.#numbers.set(key, number)
    return number
  }

  /** Whoever takes a producer's id takes an epoch that nobody else has. */
  nextEpoch({ name }: WorkStream, producerId: string): number {
    const key = `${name} ${producerId}`
    const epoch = this.#epochs.get(key) ?? 0
    this.#epochs.set(key, epoch + 1)
    return epoch
  }
}

export const pathOf = ({ name }: WorkStream): string => `/v1/stream/${name}`

/** An offset that the stream reaches, as its answers have it: a fork's are its source's up to where it leaves it. */
export function tokenOf(stream: WorkStream, offset: number): string {
  const told = stream.tokens.get(offset)
  if (told !== undefined) return told
  const digits = String(offset).padStart(16, '0')
  if (offset === 0) return `${digits}_${digits}`
  if (stream.source !== undefined && offset <= stream.ownFrom) return tokenOf(stream.source, offset)
  if (stream.tokenEnd === undefined) throw new Error(`"${stream.name}" has told nobody an offset of its own`)
  return `${digits}_${stream.tokenEnd}`
}

/** The number in an offset that the stream's answers have. */
export function offsetIn(stream: WorkStream, token: string): number {
  const offset = Number(token.slice(0, 16))
  stream.tokens.set(offset, token)
  if (offset > stream.ownFrom) stream.tokenEnd ??= token.slice(17)
  return offset
}

/** Where an answer says to go on. */
export function nextOffsetIn(stream: WorkStream, { headers }: HttpAnswer): number {
  const token = headers.get('stream-next-offset')
  if (token === undefined) throw new Error('an answer does not say where to go on')
  return offsetIn(stream, token)
}

/** Records as a body: in a stream of bytes each is a line. */
export const bodyOf = ({ isJson }: WorkStream, payloads: readonly string[]): Buffer =>
  Buffer.from(isJson ? JSON.stringify(payloads) : payloads.map((payload) => `${payload}\n`).join(''))

/** The records in a body that begins with the offset `from`. */
export function recordsIn({ isJson }: WorkStream, body: string, from: number): Seen[] {
  if (body === '') return []
  const payloads = isJson ? (JSON.parse(body) as unknown[]) : body.replace(/\n$/, '').split('\n')
  return payloads.map((payload, i): Seen => [from + i, nameOf(payload)])
}
