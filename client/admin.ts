import type { Encoding } from '../protocol/encodings.js'
import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { listOffsets, OFFSET_AT, offsetsListed } from '../protocol/messages/fetch.js'
import type { TopicDescription } from '../protocol/messages/metadata.js'
import { createTopic, deleteTopic, topicCreated, topicDeleted } from '../protocol/messages/topic.js'
import { alterTopic, deleteBefore, recordsDeleted, topicAltered } from '../protocol/messages/topic-admin.js'
import type { Connection } from './connection.js'
import { illegalArgument } from './errors.js'
import type { Metadata } from './metadata.js'
import { newRequestId } from './random.js'
import { request } from './request.js'
import { type AnyTopic, topicDifference, topicMismatch } from './topic.js'
import { patchOf, settingsInForce, type TopicSettings, type TopicSettingsInForce } from './topic-options.js'

/** Options of every single call. */
export interface CallOptions {
  /** How long the call may take, reconnects included; default `requestTimeoutMs` of the client. */
  readonly timeoutMs?: number
  /** Ends the wait with the signal's reason; what was asked for may still happen. */
  readonly signal?: AbortSignal
}

export interface CreateTopicOptions extends CallOptions, TopicSettings {
  /** Default 1; cannot be changed later. */
  readonly partitions?: number
}

export interface AlterTopicOptions extends CallOptions, TopicSettings {}

/** What a deletion has done. */
export interface DeletedRecords {
  /** The first offset that is there now. */
  readonly startOffset: number
  /** Offsets that went. */
  readonly records: number
  /** Of chunks that went whole; the disk has them back a little later. */
  readonly bytes: number
}

export interface TopicInfo extends TopicSettingsInForce {
  readonly name: string
  /** 32 hex digits; a topic made anew under the same name has another. */
  readonly topicId: string
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  /** Broker time, milliseconds since 1970. */
  readonly createdAt: number
  /** Written by the broker alone. */
  readonly internal: boolean
}

export interface PartitionInfo {
  readonly partition: number
  /** The first offset that is there. */
  readonly startOffset: number
  /** The offset that the next record gets: one past the last durable one. */
  readonly endOffset: number
}

export interface TopicDetails extends Omit<TopicInfo, 'partitions'> {
  readonly partitions: readonly PartitionInfo[]
}

/** Where in time or order: the first record, the end, or the first record appended at or after a date. */
export type OffsetAt = 'earliest' | 'latest' | Date

export interface PartitionOffset extends PartitionInfo {
  /** What was asked for. A date after the last record gives the end. */
  readonly offset: number
}

/** Topics: making, finding, measuring and deleting them. */
export class Admin {
  readonly #connection: Connection
  readonly #metadata: Metadata

  constructor(connection: Connection, metadata: Metadata) {
    this.#connection = connection
    this.#metadata = metadata
  }

  /** Rejects with TOPIC_EXISTS, ILLEGAL_ARGUMENT, LIMIT_REACHED. */
  async create(topic: AnyTopic, options: CreateTopicOptions): Promise<void> {
    await this.#create(topic, options, false)
  }

  /** Rejects with TOPIC_MISMATCH when it is there and other than asked for. */
  async ensure(topic: AnyTopic, options: CreateTopicOptions): Promise<{ created: boolean }> {
    const answer = await this.#create(topic, options, true)
    const expected = {
      keyEncoding: topic.key.encoding,
      valueEncoding: topic.value.encoding,
      partitions: options.partitions,
    }
    const differs = topicDifference(expected, answer)
    if (differs !== undefined) throw topicMismatch(topic.name, differs)
    return { created: answer.created }
  }

  #create(topic: AnyTopic, options: CreateTopicOptions, ifMissing: boolean) {
    const { partitions = 1 } = options
    if (!Number.isInteger(partitions) || partitions < 1) {
      throw new MillraceError('ILLEGAL_ARGUMENT', {
        message: `a topic has 1 partition or more, not ${partitions}`,
      })
    }
    this.#metadata.forget(topic.name)
    const fields = {
      requestId: newRequestId(this.#connection.settings.random),
      name: topic.name,
      partitions,
      keyEncoding: topic.key.encoding,
      valueEncoding: topic.value.encoding,
      ifMissing,
      ...this.#options(options),
    }
    return request(this.#connection, [createTopic, topicCreated], fields, { ...options, isMutation: true })
  }

  /** None where none are set: older brokers know of no options. */
  #options({ retention, dedupWindowMs, publicCache }: TopicSettings) {
    if (retention === undefined && dedupWindowMs === undefined && publicCache === undefined) return {}
    return { options: patchOf({ ...(retention && { retention }), dedupWindowMs, publicCache }).options }
  }

  async alter(topic: AnyTopic | string, options: AlterTopicOptions): Promise<TopicSettingsInForce> {
    const { retention, dedupWindowMs, publicCache, ...call } = options
    const fields = {
      requestId: newRequestId(this.#connection.settings.random),
      name: nameOf(topic),
      ...patchOf({ ...(retention && { retention }), dedupWindowMs, publicCache }),
    }
    const answer = await request(this.#connection, [alterTopic, topicAltered], fields, {
      ...call,
      isMutation: true,
    })
    return settingsInForce(answer.options)
  }

  async deleteBefore(
    topic: AnyTopic | string,
    { partition, offset }: { partition: number; offset: number | 'end' },
    options: CallOptions,
  ): Promise<DeletedRecords> {
    const { topicId } = await this.#metadata.describe(nameOf(topic), options)
    const fields = {
      requestId: newRequestId(this.#connection.settings.random),
      topicId,
      partition: wholeNumber('partition', partition),
      offset: offset === 'end' ? HARD_LIMITS.uintMax : wholeNumber('offset', offset),
    }
    const { startOffset, records, bytes } = await request(
      this.#connection,
      [deleteBefore, recordsDeleted],
      fields,
      { ...options, isMutation: true },
    )
    return { startOffset, records, bytes }
  }

  async delete(topic: AnyTopic | string, options: CallOptions): Promise<void> {
    const name = nameOf(topic)
    const requestId = newRequestId(this.#connection.settings.random)
    await request(
      this.#connection,
      [deleteTopic, topicDeleted],
      { requestId, name },
      { ...options, isMutation: true },
    )
    this.#metadata.forget(name)
  }

  async list(options: CallOptions): Promise<TopicInfo[]> {
    return (await this.#metadata.list(options)).map(infoOf)
  }

  async describe(topic: AnyTopic | string, options: CallOptions): Promise<TopicDetails> {
    const description = await this.#metadata.describe(nameOf(topic), options)
    const offsets = await this.#offsets(description, 'latest', options)
    const partitions = offsets.map(({ partition, startOffset, endOffset }) => ({
      partition,
      startOffset,
      endOffset,
    }))
    return { ...infoOf(description), partitions }
  }

  async offsets(topic: AnyTopic | string, at: OffsetAt, options: CallOptions): Promise<PartitionOffset[]> {
    return this.#offsets(await this.#metadata.describe(nameOf(topic), options), at, options)
  }

  async #offsets(
    { topicId, partitions }: TopicDescription,
    at: OffsetAt,
    options: CallOptions,
  ): Promise<PartitionOffset[]> {
    const all = Array.from({ length: partitions }, (_, partition) => partition)
    return offsetsOf(this.#connection, { topicId, partitions: all, at }, options)
  }
}

/** The offsets of some partitions, in their order. */
export async function offsetsOf(
  connection: Connection,
  asked: { topicId: TopicDescription['topicId']; partitions: readonly number[]; at: OffsetAt },
  options: CallOptions,
): Promise<PartitionOffset[]> {
  const { topicId, at } = asked
  const time = at instanceof Date ? timeOf(at) : 0
  const code = at instanceof Date ? OFFSET_AT.time : OFFSET_AT[at]
  const queries = asked.partitions.map((partition) => ({ partition, at: code, time }))
  const { offsets } = await request(connection, [listOffsets, offsetsListed], { topicId, queries }, options)
  return offsets.map(({ partition, offset, startOffset, durableEnd }) => ({
    partition,
    offset,
    startOffset,
    endOffset: durableEnd,
  }))
}

function timeOf(date: Date): number {
  const time = date.getTime()
  if (Number.isNaN(time)) throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'the date is invalid' })
  return Math.max(0, time)
}

const nameOf = (topic: AnyTopic | string): string => (typeof topic === 'string' ? topic : topic.name)

function infoOf({ options, internal = false, ...rest }: TopicDescription): TopicInfo {
  return { ...rest, ...settingsInForce(options), internal }
}

function wholeNumber(what: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw illegalArgument(`${what} is a whole number from 0 on, not ${value}`)
}
