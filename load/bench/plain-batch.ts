import { crc32 } from '#crc32'
import type { RecordBatchBuilder } from '../../protocol/records.js'

/** What PRODUCE says of the records of a builder, uncompressed and of no producer. The payload is the builder's own memory. */
export function plainBatch(builder: RecordBatchBuilder) {
  const { payload, recordCount, baseTimestamp } = builder.finish()
  return {
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    payload,
  }
}
