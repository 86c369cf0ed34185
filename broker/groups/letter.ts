/** What a dead letter looks like: the record as it was, with headers that say where it is from and why it is here. */
import {
  DEAD_LETTER_HEADERS,
  deadLetterTopicName,
  illegalDeadLetterTopic,
  retryTopicName,
  UNREADABLE_HEADER,
} from '../../protocol/dead-letters.js'
import type { TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS, illegalTopicName } from '../../protocol/limits.js'
import { RecordBatchBuilder, type RecordToAppend, type WireHeaders } from '../../protocol/records.js'
import { type AppendBatch, plainBatch } from '../shard/append-batch.js'

/** A record as it was appended, to be appended again elsewhere. */
export interface FoundRecord extends RecordToAppend {
  readonly offset: number
}

/** A record that a group gives up. */
export interface Letter {
  readonly record: FoundRecord
  readonly topic: string
  readonly partition: number
  readonly group: string
  readonly reason: string
  /** How often it was delivered, or tried. */
  readonly count: number
  /** Broker time, milliseconds. */
  readonly time: number
}

const LETTER_HEADERS = Object.keys(DEAD_LETTER_HEADERS).length

/** The topic that a group's retry topic stands for; any other topic stands for itself. */
export function originTopicName(topic: string, group: string): string {
  const suffix = retryTopicName('', group)
  return topic.endsWith(suffix) && topic.length > suffix.length ? topic.slice(0, -suffix.length) : topic
}

/** Why a group cannot take records of a topic, for what its dead letters would be called; undefined when it can. */
export function illegalQueueTopic(topic: string, group: string): string | undefined {
  if (topic.endsWith(deadLetterTopicName('', group)) || topic.endsWith(retryTopicName('', group))) {
    return `topic "${topic}" holds what group "${group}" gave up: the group itself cannot take it`
  }
  return illegalDeadLetterTopic(topic, group) ?? illegalTopicName(retryTopicName(topic, group))
}

/** The record of a dead letter: the record as it was, with headers that say where it is from and why it is here. */
export function letterRecord(letter: Letter): RecordToAppend {
  const { record, topic, group } = letter
  const before = record.headers ?? {}
  const origin = originTopicName(topic, group) === topic ? undefined : originIn(before)
  const headers: WireHeaders = {}
  const own = Object.values(DEAD_LETTER_HEADERS) as string[]
  const others = Object.keys(before).filter((name) => !own.includes(name))
  // A record may have only so many headers: what says where it is from must be among them.
  for (const name of others.slice(0, HARD_LIMITS.headersPerRecordMax - LETTER_HEADERS)) {
    headers[name] = before[name] as string | Uint8Array
  }
  const { key, value, timestamp } = record
  const said: Record<keyof typeof DEAD_LETTER_HEADERS, string> = {
    reason: letter.reason.slice(0, HARD_LIMITS.reasonCharsMax),
    count: String(letter.count + (origin?.count ?? 0)),
    topic: origin?.topic ?? topic,
    partition: origin?.partition ?? String(letter.partition),
    offset: origin?.offset ?? String(record.offset),
    group,
    time: String(letter.time),
  }
  for (const [field, text] of Object.entries(said)) {
    headers[DEAD_LETTER_HEADERS[field as keyof typeof said]] = text
  }
  return { key, value, headers, timestamp }
}

/** Where a record of a retry topic was first; undefined when nobody says. */
function originIn(
  headers: WireHeaders,
): { topic: string; partition: string; offset: string; count: number } | undefined {
  const said = (field: keyof typeof DEAD_LETTER_HEADERS): string | undefined => {
    const text = headers[DEAD_LETTER_HEADERS[field]]
    return typeof text === 'string' ? text : undefined
  }
  const [topic, partition, offset] = [said('topic'), said('partition'), said('offset')]
  if (topic === undefined || partition === undefined || offset === undefined) return undefined
  const count = Number(said('count') ?? 0)
  return { topic, partition, offset, count: Number.isSafeInteger(count) ? count : 0 }
}

/** Stands in the letter for a record that cannot be read any more: `code` says why. */
export function unreadableRecord(at: { offset: number; code: string; time: number }): FoundRecord {
  const { offset, code, time } = at
  return { offset, key: null, value: null, headers: { [UNREADABLE_HEADER]: code }, timestamp: time }
}

/** A batch of the broker's own, uncompressed. The topic's encodings are those of the topic that the records are from. */
export function batchOf(
  records: readonly RecordToAppend[],
  at: { topicId: TopicId; partition: number },
): AppendBatch {
  const builder = new RecordBatchBuilder()
  for (const record of records) builder.append(record)
  return plainBatch(builder.finish(), at)
}
