import { HARD_LIMITS } from '../limits.js'
import { bool, bytes, list, nullable, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'
import { part } from './part.js'

/** A batch as a producer sends it; its payload comes last in each frame. */
export const batchFields = {
  /** Bits 0-2: compression (0 none, 1 gzip); the others 0. */
  attributes: uint(0xffff),
  /** Milliseconds since 1970 that the records' timestamp deltas add to. */
  baseTimestamp: uint(),
  recordCount: uint(HARD_LIMITS.recordsPerBatchMax),
  /** Payload bytes before compression; equal to the payload's length without. */
  inflatedBytes: uint32(),
  /** CRC-32 (IEEE, as in gzip) of the payload as sent. */
  payloadCrc: uint32(),
}

/** What must hold for a batch to be written, and which of its records were written before. */
export const conditionFields = {
  /** The offset that the batch's first record must get; nil: any. */
  expectedOffset: nullable(uint()),
  /** One bit for each record, least significant first: whether it has a dedup id. nil together with `ids`. */
  idBitmap: nullable(bytes(HARD_LIMITS.recordsPerBatchMax / 8)),
  /** 16 bytes for each bit that is set, in the order of the records. */
  ids: nullable(bytes(HARD_LIMITS.recordsPerBatchMax * 16)),
}

/** Records that were not written, because one with their dedup id is there: by index in the batch, with its place. */
export const duplicates = list(
  tuple({ index: uint32(), partition: uint32(), offset: uint() }),
  HARD_LIMITS.recordsPerBatchMax,
)

/** One batch for one partition, as PRODUCE, written only if its conditions hold and without its duplicates. */
export const produceChecked = message('PRODUCE_CHECKED', 40, {
  correlationId: uint32(),
  ...part,
  /** nil: not idempotent, then epoch and sequence are 0. */
  producerId: nullable(uint()),
  producerEpoch: uint32(),
  /** Of the batch's first record, counted per (producer id, epoch, partition) from 0. */
  baseSequence: uint(),
  ...batchFields,
  ...conditionFields,
  payload: bytes(0x7fffffff),
})
export type ProduceChecked = MessageFields<typeof produceChecked>

export const producedChecked = message('PRODUCED_CHECKED', 41, {
  correlationId: uint32(),
  /** Of the first record; record i is at baseOffset + i, unless it is among the duplicates. */
  baseOffset: uint(),
  /** Broker time, milliseconds. */
  appendTime: uint(),
  /** The batch itself had been written before: these are its first offsets. */
  duplicate: bool(),
  duplicates,
})
export type ProducedChecked = MessageFields<typeof producedChecked>
export type DuplicateRecord = ProducedChecked['duplicates'][number]
