import type { Socket } from 'node:net'
import type { MillraceError } from '../../protocol/error-codes.js'
import type { RequestId } from '../../protocol/ids.js'
import type { AppendBatch } from '../shard/append-batch.js'
import type { AppendSource, ShardFace, TopicInfo } from '../shard/shard-face.js'
import type { AppendSources } from './append-sources.js'
import type { IncomingRecord } from './incoming-record.js'
import { draftBatches, type Slot } from './record-drafts.js'
import { badRequest } from './shape.js'

/** The records of one request. */
export interface RecordsToWrite {
  readonly shard: ShardFace
  readonly topic: TopicInfo
  readonly records: readonly IncomingRecord[]
  /** The connection that they came on: connections are served in turn, however much one of them sends. */
  readonly socket: Socket
  readonly requestId: RequestId
  /** The client chose the request id: the same one again gets the first answer. */
  readonly isRepeatable: boolean
  /** The offset that the first record must get; undefined: any. */
  readonly expectedOffset: number | undefined
  /** Milliseconds: of records that have no timestamp. */
  readonly now: number
  /** Of the request's body. */
  readonly bytes: number
}

/** Where a record is. */
export interface WrittenRecord {
  readonly partition: number
  readonly offset: number
  /** It was not written: a record with its dedup id is there already, at this place. */
  readonly duplicate: boolean
}

export interface Written {
  /** Broker time, milliseconds. */
  readonly appendTime: number
  /** In the order of the request. */
  readonly records: readonly WrittenRecord[]
}

/** What the log says of one batch. */
interface BatchWritten {
  readonly partition: number
  readonly baseOffset: number
  readonly duplicates:
    | readonly { readonly index: number; readonly partition: number; readonly offset: number }[]
    | null
}

/** Writes the records of requests: all of a request or none. */
export class Producers {
  readonly #sources: AppendSources
  /** Records without a key go round, request by request. */
  #turn = 0

  constructor(sources: AppendSources) {
    this.#sources = sources
  }

  /** Resolves when everything is durable. Rejects with what the shard refuses, UNKNOWN_PARTITION, BAD_REQUEST. */
  async write(given: RecordsToWrite): Promise<Written> {
    const { topic, expectedOffset, requestId, isRepeatable } = given
    // What may be repeated is placed by its request id, so that the repetition is the same request.
    const turn = isRepeatable ? Number.parseInt(requestId.slice(0, 8), 16) : this.#turn++
    const drafted = draftBatches({ ...given, keylessPartition: turn % topic.partitions })
    const { slots } = drafted
    if (expectedOffset !== undefined && drafted.batches.length > 1)
      throw badRequest('expectedOffset is for records of one partition')
    const batches =
      expectedOffset === undefined
        ? drafted.batches
        : drafted.batches.map((batch) => ({ ...batch, expectedOffset }))
    const source = this.#sources.of(given.socket, given.shard)
    const [only] = batches
    // Several partitions are one atomic write, and so is what the client may repeat: the log keeps its answer.
    if (only === undefined || batches.length > 1 || isRepeatable) {
      const { appendTime, writes } = await appendUnit(source, { requestId, writes: batches, acks: [] })
      if (!isSamePlaces(batches, writes)) throw badRequest('this Idempotency-Key was used for other records')
      return { appendTime, records: placed(slots, writes) }
    }
    const { appendTime, baseOffset, duplicates } = await append(source, only)
    return { appendTime, records: placed(slots, [{ partition: only.partition, baseOffset, duplicates }]) }
  }
}

type AckOf = NonNullable<Parameters<Parameters<AppendSource['append']>[1]>[1]>
type UnitAckOf = NonNullable<Parameters<Parameters<AppendSource['appendUnit']>[1]>[1]>

const append = (source: AppendSource, batch: AppendBatch): Promise<AckOf> =>
  new Promise((resolve, reject) => source.append(batch, settling(resolve, reject)))

const appendUnit = (
  source: AppendSource,
  unit: Parameters<AppendSource['appendUnit']>[0],
): Promise<UnitAckOf> => new Promise((resolve, reject) => source.appendUnit(unit, settling(resolve, reject)))

const settling =
  <Ack>(resolve: (ack: Ack) => void, reject: (error: unknown) => void) =>
  (error: MillraceError | null, ack: Ack | undefined): void => {
    if (ack === undefined) reject(error)
    else resolve(ack)
  }

type Places = readonly { readonly partition: number }[]

const isSamePlaces = (some: Places, others: Places): boolean =>
  some.length === others.length &&
  some.every(({ partition }, index) => others[index]?.partition === partition)

function placed(slots: readonly Slot[], written: readonly BatchWritten[]): WrittenRecord[] {
  const duplicates = written.map((batch) => new Map(batch.duplicates?.map((each) => [each.index, each])))
  return slots.map(({ batch, index }) => {
    const { partition, baseOffset } = written[batch] as BatchWritten
    const first = duplicates[batch]?.get(index)
    if (first !== undefined) return { partition: first.partition, offset: first.offset, duplicate: true }
    return { partition, offset: baseOffset + index, duplicate: false }
  })
}
