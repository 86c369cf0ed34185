import { crc32 } from '#crc32'
import { RecordBatchBuilder } from '../../protocol/records.js'

/** A payload made once and sent again and again, so that a run measures the broker and not the interpreter. */
export interface PreparedBatch {
  readonly payload: Uint8Array
  readonly payloadCrc: number
  readonly recordCount: number
}

/** `recordCount` records with text values of `recordBytes`; their time is the batch's own, given when it is sent. */
export function prepareBatch(options: { recordCount: number; recordBytes: number }): PreparedBatch {
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < options.recordCount; i++) {
    const value = `${i} `.repeat(options.recordBytes).slice(0, options.recordBytes)
    builder.append({ key: null, value, timestamp: 0 })
  }
  const { payload, recordCount } = builder.finish()
  return { payload: payload.slice(), payloadCrc: crc32(payload), recordCount }
}
