import { packFrame } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import { produce } from '../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { plainBatch } from './plain-batch.js'

interface Frame {
  readonly bytes: Uint8Array
  readonly correlationAt: number
}

interface FrameOptions {
  readonly topicId: TopicId
  readonly batchBytes: number
  readonly recordBytes: number
  /** The frames go to them in turn, as far as there are variants; default 1. */
  readonly partitions?: number
}

/** PRODUCE frames of about `batchBytes` each, made beforehand so that a figure measures the broker and not the load. */
export class ProduceFrames {
  readonly batchBytes: number
  readonly recordsPerBatch: number
  readonly #frames: Frame[]
  #next = 0

  constructor(options: FrameOptions & { variants?: number }) {
    const variants = options.variants ?? 16
    this.#frames = Array.from({ length: variants }, (_, seed) => frameOf(options, seed))
    const { payload, recordCount } = batchOf(options, 0)
    this.batchBytes = payload.length
    this.recordsPerBatch = recordCount
  }

  /** A frame with this correlation id; the bytes are good until `variants` further calls. */
  next(correlationId: number): Uint8Array {
    const frame = this.#frames[this.#next++ % this.#frames.length] as Frame
    new DataView(frame.bytes.buffer, frame.bytes.byteOffset).setUint32(frame.correlationAt, correlationId)
    return frame.bytes
  }
}

/** A correlation id that MessagePack writes with five bytes, so that it can be replaced in place. */
const FIRST_WIDE_ID = 0x10000

function frameOf(options: FrameOptions, seed: number): Frame {
  const bytes = packFrame(
    produce.write({
      correlationId: FIRST_WIDE_ID,
      topicId: options.topicId,
      partition: seed % (options.partitions ?? 1),
      ...batchOf(options, seed),
    }),
  )
  const correlationAt = bytes.indexOf(0xce) + 1
  return { bytes, correlationAt }
}

function batchOf({ batchBytes, recordBytes }: { batchBytes: number; recordBytes: number }, seed: number) {
  const builder = new RecordBatchBuilder({ initialBytes: batchBytes + recordBytes })
  const value = String.fromCharCode(97 + (seed % 26)).repeat(recordBytes)
  do builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  while (builder.bytes + recordBytes < batchBytes)
  return plainBatch(builder)
}

export const correlationIdOf = (index: number): number => FIRST_WIDE_ID + index
