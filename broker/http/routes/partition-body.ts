import type { PartitionSize } from '../../shard/partition-sizes.js'
import { timeAsText } from '../record-text.js'
import { isoTime, nullable, uint } from '../shape.js'

/** A partition in an answer. */
export const partitionFields = {
  partition: uint({ about: 'Counted from 0.' }),
  startOffset: uint({ about: 'The first offset that can be read.' }),
  endOffset: uint({ about: 'The offset that the next record gets: one past the last durable one.' }),
  bytes: uint({ about: 'As stored.' }),
  sealedBytes: uint({ about: 'Those of them that are in chunks; the others are in the write-ahead log.' }),
  chunks: uint(),
  lastAppendTime: nullable(isoTime('null: nothing was ever appended.')),
}

/** What `partitionFields` describe. */
export function partitionBody(size: PartitionSize): object {
  const { partition, startOffset, durableEnd: endOffset, sealedBytes, unsealedBytes, chunks } = size
  return {
    partition,
    startOffset,
    endOffset,
    bytes: sealedBytes + unsealedBytes,
    sealedBytes,
    chunks,
    lastAppendTime: size.lastAppendTime === 0 ? null : timeAsText(size.lastAppendTime),
  }
}
