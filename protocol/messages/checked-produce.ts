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

const listOfDuplicates = list(
  tuple({ index: uint32(), partition: uint32(), offset: uint() }),
  HARD_LIMITS.recordsPerBatchMax,
)

/**
 * Records that were not written, because one with their dedup id is there: by index in the batch, with its place. Where
 * many write the same there are thousands: what is as it should be is read and written field by field by name.
 */
export const duplicates: typeof listOfDuplicates = {
  ...listOfDuplicates,
  read(value, path) {
    if (!Array.isArray(value) || value.length > HARD_LIMITS.recordsPerBatchMax)
      return listOfDuplicates.read(value, path)
    const read: { index: number; partition: number; offset: number }[] = []
    for (const item of value) {
      if (!Array.isArray(item)) return listOfDuplicates.read(value, path)
      const index: unknown = item[0]
      const partition: unknown = item[1]
      const offset: unknown = item[2]
      if (
        !isUint(index, UINT32_MAX) ||
        !isUint(partition, UINT32_MAX) ||
        !isUint(offset, HARD_LIMITS.uintMax)
      )
        return listOfDuplicates.read(value, path)
      read.push({ index, partition, offset })
    }
    return read
  },
  write: (value) => value.map(({ index, partition, offset }) => [index, partition, offset]),
}

const UINT32_MAX = 0xffffffff

const isUint = (value: unknown, max: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max

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
