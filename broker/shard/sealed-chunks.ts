import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { ChunkFiles } from '../chunks/chunk-files.js'
import type { LentSection } from '../chunks/lent-section.js'
import { ChunkRemoved } from '../chunks/open-files.js'
import type { ChunkRow } from '../manifest/rows.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { DiskReads } from './disk-reads.js'
import { chunkIndex, type PartitionReader, typed } from './read.js'
import type { PartitionState } from './state.js'

interface PartitionOf {
  readonly topicId: TopicId
  readonly partition: number
}

/** Some chunks of a partition, in the order of their offsets. */
export interface ChunkPage {
  readonly chunks: readonly ChunkRow[]
  readonly hasMore: boolean
  readonly startOffset: number
  /** What lies below is in chunks. */
  readonly sealedEnd: number
  readonly durableEnd: number
}

/** Why an offset cannot be read as a whole chunk that begins with it. */
export type Misfit =
  /** It lies within a chunk. */
  | 'unaligned'
  /** Nothing is sealed there yet. */
  | 'unsealed'
  /** The chunk that holds it holds deleted records as well. */
  | 'truncated'

/** Of libuv's threads: those who fetch whole chunks must not hold up the WAL, nor those who follow. */
const READS_MAX = 2

/**
 * Sealed chunks as things of their own, for those who hand them out whole. A chunk that holds a deleted record is none of them any
 * more: what is left of it can be read, but not the chunk.
 */
export class SealedChunks {
  readonly #reader: Pick<PartitionReader, 'partition'>
  readonly #files: Pick<ChunkFiles, 'lend'>
  readonly #planted: PlantedFault | undefined
  readonly #reads = new DiskReads({ max: READS_MAX })

  constructor({
    reader,
    files,
    planted,
  }: {
    reader: Pick<PartitionReader, 'partition'>
    files: Pick<ChunkFiles, 'lend'>
    planted?: PlantedFault | undefined
  }) {
    this.#reader = reader
    this.#planted = planted
    this.#files = files
  }

  /** Up to `limit` chunks from the one that holds `offset` on. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  list({ offset, limit, ...at }: PartitionOf & { offset: number; limit: number }): ChunkPage {
    const partition = this.#reader.partition(at)
    const { chunks, startOffset, sealedEnd, endOffset: durableEnd } = partition
    let first = chunkIndex(partition, offset)
    if (isTruncated(partition, chunks[first])) first++
    const hasMore = chunks.length > first + limit
    return { chunks: chunks.slice(first, first + limit), hasMore, startOffset, sealedEnd, durableEnd }
  }

  /** The chunk that begins with `offset`, or why there is none. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION. */
  startingAt({ offset, ...at }: PartitionOf & { offset: number }): ChunkRow | Misfit {
    const partition = this.#reader.partition(at)
    const row = partition.chunks[chunkIndex(partition, offset)]
    if (row === undefined) return 'unsealed'
    if (isTruncated(partition, row)) return 'truncated'
    // Before its first offset there may be a gap, and nothing else.
    return offset <= row.section.baseOffset ? row : 'unaligned'
  }

  /** Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, and CHUNK_GONE (details: startOffset, endOffset). */
  find({ chunkId, digest, ...at }: PartitionOf & { chunkId: number; digest: string }): ChunkRow {
    const partition = this.#reader.partition(at)
    const row = partition.chunks.find((each) => each.chunkId === chunkId && each.section.digest === digest)
    const [oldest] = partition.chunks
    if (row === undefined && oldest !== undefined && this.#planted === 'chunkUrlServesAnother') return oldest
    if (row === undefined || isTruncated(partition, row)) throw gone(partition)
    return row
  }

  /**
   * Opens a chunk for reading all of it; the caller closes it. Rejects as `find` throws, and with CORRUPT_DATA, STORAGE_FAILED.
   */
  async open(row: ChunkRow): Promise<LentSection> {
    try {
      return await this.#files.lend(row, (read) => this.#reads.run(read))
    } catch (error) {
      if (error instanceof ChunkRemoved) throw gone(this.#reader.partition(row))
      throw typed(error)
    }
  }
}

const isTruncated = ({ startOffset }: PartitionState, row: ChunkRow | undefined): boolean =>
  row !== undefined && row.section.baseOffset < startOffset

const gone = ({ startOffset, endOffset }: PartitionState): MillraceError =>
  new MillraceError('CHUNK_GONE', {
    message: `the chunk is not there any more; the partition goes from offset ${startOffset} to ${endOffset}`,
    details: { startOffset, endOffset },
  })
