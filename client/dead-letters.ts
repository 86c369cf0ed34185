import { DEAD_LETTER_HEADERS, deadLetterTopicName } from '../protocol/dead-letters.js'
import type { Encoding } from '../protocol/encodings.js'
import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { dlqPurge, dlqPurged, dlqReplay, dlqReplayed } from '../protocol/messages/dead-letter.js'
import type { Wire } from '../protocol/record.js'
import type { CallOptions } from './admin.js'
import type { Connection } from './connection.js'
import type { Codec } from './encodings.js'
import { asMillraceError, illegalArgument } from './errors.js'
import type { Place } from './group-record.js'
import type { Metadata } from './metadata.js'
import { newRequestId } from './random.js'
import type { ReadOptions } from './read-options.js'
import { decodeRecord } from './record-decoder.js'
import { request } from './request.js'
import type { AnyTopic, Headers, ReadRecord, ReadRecordOf } from './topic.js'

/** A record that a group gave up. */
export interface DeadLetter<R = ReadRecord> {
  /** In the dead-letter topic. */
  readonly offset: number
  /** Why: what the last failure said. */
  readonly reason: string
  /** How often it was delivered or tried, over replays too. */
  readonly count: number
  readonly group: string
  /** Broker time at which it was given up, milliseconds since 1970. */
  readonly time: number
  /** Where it was. */
  readonly origin: Place
  /** The record, with `partition` and `offset` of the dead-letter topic; undefined when it cannot be decoded: see `error`. */
  readonly record: R | undefined
  readonly error: MillraceError | undefined
  /** Its key and value as they are stored: text or bytes. */
  readonly raw: { readonly key: Wire; readonly value: Wire }
}

export interface ListDeadLettersOptions {
  /** Dead letters before this offset of the dead-letter topic are passed over. */
  readonly from?: number
  readonly signal?: AbortSignal
}

export interface ReplayOptions extends CallOptions {
  /** The oldest so many; default all. */
  readonly max?: number
}

type ReadRaw = (topic: AnyTopic, options: ReadOptions) => AsyncIterable<ReadRecord>

/** What groups gave up: `client.deadLetters`. */
export class DeadLetters {
  readonly #connection: Connection
  readonly #metadata: Metadata
  readonly #read: ReadRaw

  /** @internal */
  constructor(surroundings: { connection: Connection; metadata: Metadata; read: ReadRaw }) {
    this.#connection = surroundings.connection
    this.#metadata = surroundings.metadata
    this.#read = surroundings.read
  }

  /** The dead letters that there are now, oldest first; none when the group never gave anything up in the topic. */
  async *list<T extends AnyTopic>(
    topic: T,
    group: string,
    options: ListDeadLettersOptions = {},
  ): AsyncGenerator<DeadLetter<ReadRecordOf<T>>, void, undefined> {
    const { from, signal } = options
    const stored: AnyTopic = {
      name: deadLetterTopicName(topic.name, group),
      key: asStored(topic.key.encoding),
      value: asStored(topic.value.encoding),
    }
    try {
      const range = { from: from === undefined ? 'earliest' : { 0: from }, to: 'end' } as const
      for await (const record of this.#read(stored, signal === undefined ? range : { ...range, signal })) {
        yield (await deadLetter(topic, record)) as DeadLetter<ReadRecordOf<T>>
      }
    } catch (error) {
      const isMissing = error instanceof MillraceError && error.code === 'UNKNOWN_TOPIC'
      if (!isMissing) throw error
    }
  }

  /**
   * Gives the oldest dead letters to the group once more, and to no other: to the members that read the topic, or will. Returns how
   * many, and how many are left. Rejects with UNKNOWN_TOPIC, UNKNOWN_GROUP.
   */
  async replay(
    topic: AnyTopic | string,
    group: string,
    options: ReplayOptions = {},
  ): Promise<{ replayed: number; left: number }> {
    const { max = HARD_LIMITS.uintMax } = options
    if (!Number.isSafeInteger(max) || max < 1)
      throw illegalArgument(`max is a whole number from 1 on, not ${max}`)
    const fields = { ...(await this.#place(topic, group, options)), max }
    const { replayed, left } = await request(this.#connection, [dlqReplay, dlqReplayed], fields, {
      ...options,
      isMutation: true,
    })
    return { replayed, left }
  }

  /**
   * Deletes the dead letters of a group, which may be deleted itself; returns how many. Rejects with UNKNOWN_TOPIC, UNKNOWN_GROUP.
   */
  async purge(
    topic: AnyTopic | string,
    group: string,
    options: CallOptions = {},
  ): Promise<{ records: number }> {
    const fields = await this.#place(topic, group, options)
    const { records } = await request(this.#connection, [dlqPurge, dlqPurged], fields, {
      ...options,
      isMutation: true,
    })
    return { records }
  }

  async #place(topic: AnyTopic | string, group: string, options: CallOptions) {
    const requestId = newRequestId(this.#connection.settings.random)
    const name = typeof topic === 'string' ? topic : topic.name
    const { topicId } = await this.#metadata.describe(name, options)
    return { requestId, topicId, group }
  }
}

/** Undecoded: what made a record a dead letter may be that it cannot be. */
function asStored(encoding: Encoding): Codec<Wire> {
  const decode = (wire: Wire): Wire => (wire instanceof Uint8Array ? wire.slice() : wire)
  return { encoding, hasSchema: false, encode: decode, decode }
}

const NAMES: ReadonlySet<string> = new Set(Object.values(DEAD_LETTER_HEADERS))

async function deadLetter(topic: AnyTopic, stored: ReadRecord): Promise<DeadLetter> {
  const { partition, offset, timestamp, appendTime, headers } = stored
  const raw = { key: stored.key as Wire, value: stored.value as Wire }
  const said = (name: keyof typeof DEAD_LETTER_HEADERS): string =>
    String(headers[DEAD_LETTER_HEADERS[name]] ?? '')
  const about = {
    offset,
    reason: said('reason'),
    count: Number(said('count')),
    group: said('group'),
    time: Number(said('time')),
    origin: { topic: said('topic'), partition: Number(said('partition')), offset: Number(said('offset')) },
    raw,
  }
  const own: Headers = Object.fromEntries(Object.entries(headers).filter(([name]) => !NAMES.has(name)))
  const place = { topic, partition, baseOffset: offset, baseTimestamp: timestamp, appendTime }
  try {
    const wire = { offsetDelta: 0, timestampDelta: 0, ...raw, headers: own }
    return { ...about, record: await decodeRecord(place, wire), error: undefined }
  } catch (error) {
    return { ...about, record: undefined, error: asMillraceError(error) }
  }
}
