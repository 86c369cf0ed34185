import { MillraceError } from '../protocol/error-codes.js'
import type { TopicDescription } from '../protocol/messages/metadata.js'
import { type OffsetAt, offsetsOf } from './admin.js'
import type { Connection } from './connection.js'
import { illegalArgument } from './errors.js'
import type { History } from './history/history-url.js'
import type { AnyTopic } from './topic.js'

/** Offsets by partition: `{ 0: 1200, 3: 0 }`. */
export type OffsetsByPartition = Readonly<Record<number, number>>

/** `Offsets` is OffsetsByPartition for one topic, and that by topic name for several. */
export interface ReadOptions<Offsets = OffsetsByPartition> {
  /**
   * Where to begin: the first record there is, what comes from now on (default), the first record appended at or after a date, or
   * an offset for each partition (those that are not named are not read).
   */
  readonly from?: OffsetAt | Offsets
  /**
   * Where to end: what is durable when the reading begins, or an offset for each partition, not included. Without it the
   * reader follows for ever.
   */
  readonly to?: 'end' | Offsets
  /** Only these partitions; default all (or those that `from` names). */
  readonly partitions?: readonly number[]
  /** Bytes that are held ahead of the application, over all partitions; default 4 MiB. One batch may overdraw it. */
  readonly bufferBytes?: number
  /**
   * When the broker does not have the next offset (deleted meanwhile, lost with a disk, beyond the end): 'throw' (default) ends
   * with OFFSET_OUT_OF_RANGE, 'earliest' and 'latest' jump there.
   */
  readonly onOutOfRange?: 'earliest' | 'latest' | 'throw'
  /**
   * Reads what is sealed over HTTP, as immutable chunks that caches on the way keep (a browser's, a CDN where the topic has `publicCache`),
   * and changes over to the WebSocket where nothing is sealed yet, without gap or repeat. Where HTTP fails, records come by the WebSocket
   * all the same, and the client's event `historyFallback` tells. Default: all by the WebSocket.
   */
  readonly history?: History
  /** Ends the reading: the iterator throws the signal's reason. */
  readonly signal?: AbortSignal
}

/** Options of a reader of any number of topics. */
export type AnyReadOptions = ReadOptions<OffsetsByPartition | Readonly<Record<string, OffsetsByPartition>>>

export interface PartitionRange {
  readonly partition: number
  readonly offset: number
  /** Exclusive. */
  readonly end: number | undefined
}

/** Which partitions of a topic are read, from where to where; asks the broker what has to be asked. */
export async function rangesOf(
  connection: Connection,
  { topicId, partitions: count, name }: TopicDescription,
  options: AnyReadOptions,
  isOnly: boolean,
): Promise<PartitionRange[]> {
  const { from = 'latest', to, signal } = options
  const fromOffsets =
    typeof from === 'string' || from instanceof Date ? undefined : forTopic(from, name, isOnly)
  const toOffsets = to === undefined || to === 'end' ? undefined : forTopic(to, name, isOnly)
  const partitions = options.partitions ?? (fromOffsets ? partitionsIn(fromOffsets) : numbersBelow(count))
  for (const partition of partitions) assertPartition(partition, { name, count })
  if (partitions.length === 0) return []
  const at = typeof from === 'string' || from instanceof Date ? from : 'earliest'
  const callOptions = signal === undefined ? {} : { signal }
  const isAsked = fromOffsets === undefined || to === 'end'
  const known = isAsked ? await offsetsOf(connection, { topicId, partitions, at }, callOptions) : []
  return partitions.map((partition, i) => {
    const offset = fromOffsets === undefined ? known[i]?.offset : fromOffsets[partition]
    const end = to === 'end' ? known[i]?.endOffset : toOffsets?.[partition]
    if (to !== undefined && end === undefined) throw missing('to', name, partition)
    const begin = checkedOffset(offset, 'from', name, partition)
    if (to !== 'end' || end === undefined || begin <= end) return { partition, offset: begin, end }
    const bounds = { startOffset: known[i]?.offset ?? 0, endOffset: end }
    return { partition, offset: instead(begin, { name, partition, ...bounds }, options), end }
  })
}

/** Where to begin when the partition ends below the offset asked for: nothing is asked of the broker that would say so. */
function instead(
  begin: number,
  at: { name: string; partition: number; startOffset: number; endOffset: number },
  { onOutOfRange = 'throw' }: AnyReadOptions,
): number {
  const { name, partition, startOffset, endOffset } = at
  if (onOutOfRange !== 'throw') return onOutOfRange === 'earliest' ? startOffset : endOffset
  throw new MillraceError('OFFSET_OUT_OF_RANGE', {
    message: `topic "${name}", partition ${partition}: offset ${begin} is outside ${startOffset} to ${endOffset}`,
    details: { topic: name, partition, offset: begin, startOffset, endOffset },
  })
}

function forTopic(
  offsets: OffsetsByPartition | Readonly<Record<string, OffsetsByPartition>>,
  name: string,
  isOnly: boolean,
): OffsetsByPartition {
  const own = isOnly ? offsets : (offsets as Readonly<Record<string, unknown>>)[name]
  if (own === undefined) return {}
  for (const [partition, offset] of Object.entries(own as object)) {
    if (!/^\d+$/.test(partition)) throw illegalArgument(`"${partition}" is no partition of topic "${name}"`)
    if (!Number.isSafeInteger(offset) || offset < 0) {
      throw illegalArgument(
        `the offset for partition ${partition} of topic "${name}" is 0 or more, not ${offset}`,
      )
    }
  }
  return own as OffsetsByPartition
}

const partitionsIn = (offsets: OffsetsByPartition): number[] => Object.keys(offsets).map(Number)

const numbersBelow = (count: number): number[] => Array.from({ length: count }, (_, number) => number)

function assertPartition(partition: number, { name, count }: { name: string; count: number }): void {
  if (Number.isInteger(partition) && partition >= 0 && partition < count) return
  throw new MillraceError('UNKNOWN_PARTITION', {
    message: `topic "${name}" has partitions 0 to ${count - 1}, not ${partition}`,
    details: { topic: name, partition, partitions: count },
  })
}

function checkedOffset(
  offset: number | undefined,
  option: string,
  name: AnyTopic['name'],
  partition: number,
): number {
  if (offset === undefined) throw missing(option, name, partition)
  return offset
}

const missing = (option: string, name: string, partition: number): MillraceError =>
  illegalArgument(`\`${option}\` has no offset for partition ${partition} of topic "${name}"`)
