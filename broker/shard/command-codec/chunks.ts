import { id, tuple, uint } from '../../../protocol/shape.js'
import type { ChunkRow } from '../../manifest/rows.js'
import { type Codec, listOf, part } from './codec.js'

/** A chunk is part of the log from now on: one row for each partition in it. */
export interface ChunkSealed {
  readonly type: 'chunkSealed'
  readonly chunkId: number
  readonly rows: readonly ChunkRow[]
}

const fieldsOfAll = tuple({
  chunkId: uint(),
  rows: listOf(
    tuple({
      ...part,
      baseOffset: uint(),
      endOffset: uint(),
      byteStart: uint(),
      byteEnd: uint(),
      indexStart: uint(),
      indexBytes: uint(),
      recordCount: uint(),
      minAppendTime: uint(),
      maxAppendTime: uint(),
      digest: id<string>(),
    }),
  ),
})

export const chunkSealed: Codec<ChunkSealed> = {
  encode: ({ chunkId, rows }) =>
    fieldsOfAll.write({
      chunkId,
      rows: rows.map(({ topicId, partition, section }) => ({ topicId, partition, ...section })),
    }),
  decode: (fields) => {
    const { chunkId, rows } = fieldsOfAll.read(fields, 'chunkSealed')
    return {
      type: 'chunkSealed',
      chunkId,
      rows: rows.map(({ topicId, partition, ...section }) => ({ topicId, partition, chunkId, section })),
    }
  },
}
