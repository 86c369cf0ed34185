import type { Encoding } from '../protocol/encodings.js'
import { MillraceError } from '../protocol/error-codes.js'
import { illegalTopicName, RESERVED_TOPIC_PREFIX } from '../protocol/limits.js'
import type { AnyCodec, InputOf, OutputOf } from './encodings.js'

/** A topic as the program knows it: its name and how its keys and values are written. */
export interface Topic<
  Key extends AnyCodec = AnyCodec,
  Value extends AnyCodec = AnyCodec,
  Name extends string = string,
> {
  readonly name: Name
  readonly key: Key
  readonly value: Value
  /** A record of this topic, checked by the compiler; `producer.send` and `client.atomic` take it. */
  readonly record: (record: RecordFields<InputOf<Key>, InputOf<Value>>) => TopicRecord<Key, Value, Name>
}

/** Any topic, whatever its types. */
export interface AnyTopic {
  readonly name: string
  readonly key: AnyCodec
  readonly value: AnyCodec
}

export type Headers = Readonly<Record<string, string | Uint8Array>>

/** What is sent: the shape that `producer.send` and `client.atomic` take. */
export interface RecordFields<Key, Value> {
  /** Chooses the partition, and what records are versions of; none: any partition. */
  readonly key?: Key | null
  readonly value: Value
  /** Names to text or bytes, for what is about the record and not in it: a trace id, a content type. */
  readonly headers?: Headers | undefined
  /** Overrules the key's choice. */
  readonly partition?: number | undefined
  /** When it happened: a Date or milliseconds since 1970; default now. */
  readonly timestamp?: number | Date | undefined
  /**
   * Says which record this is, in 1 to 1,024 characters: one record per topic and id is written within the topic's
   * `dedupWindowMs`, whatever connection, producer or partition the second comes from. The second one's result says
   * `duplicate` and where the first is.
   */
  readonly dedupId?: string | undefined
  /**
   * The record is written only if it gets exactly this offset, else EXPECTED_OFFSET_CONFLICT (details: expectedOffset and
   * actualOffset, the one that it would have got). It needs `partition` or `key`, unless the topic has one partition.
   */
  readonly expectedOffset?: number | undefined
}

declare const CHECKED: unique symbol

/** For the compiler alone: whatever has it was made by `topic.record`, which checks every field against the topic. */
export interface CheckedRecord {
  readonly [CHECKED]: true
}

/** A record and its topic: what `topic.record` makes, and nothing else can. */
export interface TopicRecord<Key extends AnyCodec, Value extends AnyCodec, Name extends string = string>
  extends RecordFields<InputOf<Key>, InputOf<Value>>,
    CheckedRecord {
  readonly topic: Topic<Key, Value, Name>
}

/** What a producer of this topic sends. */
export type RecordOf<T extends AnyTopic> = RecordFields<InputOf<T['key']>, InputOf<T['value']>>

/** What a reader of this topic gets. */
export type ReadRecordOf<T extends AnyTopic> = T extends AnyTopic
  ? ReadRecord<OutputOf<T['key']>, OutputOf<T['value']>, T['name']>
  : never

/** A record as it is read. */
export interface ReadRecord<Key = unknown, Value = unknown, Name extends string = string> {
  readonly topic: Name
  readonly partition: number
  readonly offset: number
  /** The producer's time, milliseconds since 1970. */
  readonly timestamp: number
  /** The broker's time, milliseconds since 1970; never falls within a partition. */
  readonly appendTime: number
  /** null: the record has no key. */
  readonly key: Key | null
  /** null where a record without a value was written, whatever the type says: see `nullable`. */
  readonly value: Value
  readonly headers: Headers
}

/**
 * Names a topic and the types of its records. Nothing is asked of a broker: `client.ensureTopic` does that.
 * Throws ILLEGAL_TOPIC_NAME.
 *
 * @example const Orders = defineTopic({ name: 'orders', key: text(), value: json<Order>() })
 */
export function defineTopic<const Name extends string, Key extends AnyCodec, Value extends AnyCodec>(fields: {
  readonly name: Name
  readonly key: Key
  readonly value: Value
}): Topic<Key, Value, Name> {
  const { name, key, value } = fields
  // The broker's own topics can be read like any other; making and writing them is refused by the broker.
  const isInternal = name.startsWith(RESERVED_TOPIC_PREFIX)
  const why = illegalTopicName(isInternal ? name.slice(RESERVED_TOPIC_PREFIX.length) : name)
  if (why !== undefined) throw new MillraceError('ILLEGAL_TOPIC_NAME', { message: why })
  const topic: Topic<Key, Value, Name> = Object.freeze({
    name,
    key,
    value,
    record: (record: RecordFields<InputOf<Key>, InputOf<Value>>) =>
      ({ ...record, topic }) as TopicRecord<Key, Value, Name>,
  })
  return topic
}

/** What differs between the topic here and there, as details of an error; undefined when nothing does. */
export function topicDifference(
  expected: { keyEncoding: Encoding; valueEncoding: Encoding; partitions?: number | undefined },
  actual: { keyEncoding: Encoding; valueEncoding: Encoding; partitions: number },
): Record<string, string | number> | undefined {
  const differs: Record<string, string | number> = {}
  for (const field of ['keyEncoding', 'valueEncoding', 'partitions'] as const) {
    const wanted = expected[field]
    if (wanted === undefined || wanted === actual[field]) continue
    differs[`${field}Wanted`] = wanted
    differs[field] = actual[field]
  }
  return Object.keys(differs).length === 0 ? undefined : differs
}

/** TOPIC_MISMATCH: `topic "orders" has partitions 4, not 8`. */
export function topicMismatch(name: string, differs: Record<string, string | number>): MillraceError {
  const fields = Object.keys(differs).filter((field) => !field.endsWith('Wanted'))
  const texts = fields.map((field) => `${field} ${differs[field]}, not ${differs[`${field}Wanted`]}`)
  return new MillraceError('TOPIC_MISMATCH', {
    message: `topic "${name}" has ${texts.join(' and ')}`,
    details: { topic: name, ...differs },
  })
}
