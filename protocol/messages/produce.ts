import type { RequestId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bool, bytes, id, list, nullable, text, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

/** A named producer keeps its id for ever and gets the next epoch, which fences whoever had the last one. */
export const initProducer = message('INIT_PRODUCER', 16, {
  correlationId: uint32(),
  requestId: id<RequestId>(),
  name: nullable(text(HARD_LIMITS.producerNameCharsMax)),
})
export type InitProducer = MessageFields<typeof initProducer>

export const producerReady = message('PRODUCER_READY', 17, {
  correlationId: uint32(),
  producerId: uint(),
  producerEpoch: uint32(),
})
export type ProducerReady = MessageFields<typeof producerReady>

/** One batch for one partition: written whole or not at all. */
export const produce = message('PRODUCE', 18, {
  correlationId: uint32(),
  topicId: id<TopicId>(),
  partition: uint32(),
  /** nil: not idempotent, then epoch and sequence are 0. */
  producerId: nullable(uint()),
  producerEpoch: uint32(),
  /** Of the batch's first record, counted per (producer id, epoch, partition) from 0. */
  baseSequence: uint(),
  /** Bits 0-2: compression (0 none, 1 gzip); the others 0. */
  attributes: uint(0xffff),
  /** Milliseconds since 1970 that the records' timestamp deltas add to. */
  baseTimestamp: uint(),
  recordCount: uint(HARD_LIMITS.recordsPerBatchMax),
  /** Payload bytes before compression; equal to the payload's length without. */
  inflatedBytes: uint32(),
  /** CRC-32 (IEEE, as in gzip) of the payload as sent. */
  payloadCrc: uint32(),
  payload: bytes(0x7fffffff),
})
export type Produce = MessageFields<typeof produce>

/** Answers of several PRODUCE requests that became durable together. */
export const produced = message('PRODUCED', 19, {
  acks: list(
    tuple({
      correlationId: uint32(),
      baseOffset: uint(),
      /** Broker time, milliseconds. */
      appendTime: uint(),
      /** The batch had been written before: these are its first offsets. */
      duplicate: bool(),
    }),
    HARD_LIMITS.acksPerFrameMax,
  ),
})
export type Produced = MessageFields<typeof produced>
export type ProduceAck = Produced['acks'][number]
