/** Record batches with golden vectors: frame-samples.ts says what may be changed here. */
import type { Encoding } from '../../../protocol/encodings.js'
import type { Compression } from '../../../protocol/entry.js'
import { RecordBatchBuilder, type RecordToAppend } from '../../../protocol/records.js'
import { hex, NOW } from './values.js'

export interface BatchSample {
  readonly name: string
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly compression: Compression
  readonly records: readonly RecordToAppend[]
}

const manyRecords: RecordToAppend[] = Array.from({ length: 20 }, (_, i) => ({
  key: i % 3 === 0 ? null : `key ${i % 4}`,
  value: `value ${i} `.repeat(i),
  headers: i % 5 === 0 ? { n: String(i) } : null,
  timestamp: NOW + 100 * i,
}))

export const BATCH_SAMPLES: readonly BatchSample[] = [
  {
    name: 'one text record',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: [{ key: null, value: 'hi', timestamp: NOW }],
  },
  {
    name: 'json with keys and headers',
    keyEncoding: 'text',
    valueEncoding: 'json',
    compression: 'none',
    records: [
      { key: 'a', value: '{"n":1}', headers: { trace: '1', raw: hex('00ff') }, timestamp: NOW },
      { key: 'b', value: 'null', headers: {}, timestamp: NOW + 1 },
    ],
  },
  {
    name: 'bytes',
    keyEncoding: 'bytes',
    valueEncoding: 'bytes',
    compression: 'none',
    records: [
      { key: hex('00'), value: hex('deadbeef'), timestamp: NOW },
      { key: new Uint8Array(0), value: new Uint8Array(256).map((_, i) => i), timestamp: NOW },
    ],
  },
  {
    name: 'msgpack values under text keys',
    keyEncoding: 'text',
    valueEncoding: 'msgpack',
    compression: 'none',
    records: [{ key: 'k', value: hex('82a16101a162c3'), timestamp: NOW }],
  },
  {
    name: 'empty and missing keys and values',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: [
      { key: null, value: null, timestamp: NOW },
      { key: '', value: '', timestamp: NOW },
    ],
  },
  {
    name: 'unicode',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: [
      { key: 'ключ', value: 'Größe €10 😀 \u0000 \ufeff', headers: { läuft: 'ja' }, timestamp: NOW },
      { key: '漢字'.repeat(6), value: 'é'.repeat(130), timestamp: NOW },
    ],
  },
  {
    name: 'timestamps that fall, and far apart ones',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: [0, -1, -33, -200, -40_000, -3_000_000_000, 100, 300, 70_000, 5_000_000_000].map((delta) => ({
      key: null,
      value: String(delta),
      timestamp: NOW + delta,
    })),
  },
  {
    name: 'times before 1970',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: [
      { key: null, value: 'x', timestamp: -5 },
      { key: null, value: 'y', timestamp: 5 },
    ],
  },
  {
    name: 'twenty records',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'none',
    records: manyRecords,
  },
  {
    name: 'twenty records in gzip',
    keyEncoding: 'text',
    valueEncoding: 'text',
    compression: 'gzip',
    records: manyRecords,
  },
  {
    name: 'one record in gzip',
    keyEncoding: 'bytes',
    valueEncoding: 'bytes',
    compression: 'gzip',
    records: [{ key: null, value: new Uint8Array(300), timestamp: NOW }],
  },
]

/** The uncompressed payload of a sample. */
export function payloadOf(sample: BatchSample): {
  payload: Uint8Array
  recordCount: number
  baseTimestamp: number
} {
  const builder = new RecordBatchBuilder()
  for (const record of sample.records) builder.append(record)
  return builder.finish()
}
