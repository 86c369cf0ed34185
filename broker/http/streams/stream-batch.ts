import type { TopicId } from '../../../protocol/ids.js'
import { RecordBatchBuilder } from '../../../protocol/records.js'
import { type AppendBatch, plainBatch } from '../../shard/append-batch.js'
import { isJson } from '../../shard/stream-changes.js'
import { bodyText } from '../body.js'
import { jsonElements } from './json-elements.js'

/** What a record takes beside its value, at most. */
const RECORD_OVERHEAD_BYTES = 64

/**
 * The values that a body brings: of a JSON stream each is a record, else the bytes are one, or as many as it takes. Throws
 * BAD_REQUEST.
 */
export function valuesIn(
  bytes: Buffer,
  { contentType, recordBytesMax }: { contentType: string | undefined; recordBytesMax: number },
): readonly (string | Buffer)[] {
  if (contentType !== undefined && isJson(contentType)) return jsonElements(bodyText(bytes))
  const most = recordBytesMax - RECORD_OVERHEAD_BYTES
  const values: Buffer[] = []
  for (let at = 0; at < bytes.length; at += most) values.push(bytes.subarray(at, at + most))
  return values
}

/** The batch that values become. Throws BATCH_TOO_LARGE. */
export function batchOf(
  values: readonly (string | Buffer)[],
  { topicId, timestamp, bytes }: { topicId: TopicId; timestamp: number; bytes: Buffer },
): AppendBatch {
  const overhead = RECORD_OVERHEAD_BYTES * Math.min(values.length, 10_000)
  const builder = new RecordBatchBuilder({ initialBytes: bytes.length + overhead })
  for (const value of values) builder.append({ key: null, value, timestamp })
  return plainBatch(builder.finish(), { topicId, partition: 0 })
}
