import type { Metrics } from '../platform/metrics.js'
import type { Slab, SlabPool } from '../wal/slab.js'
import type { PartitionState } from './state.js'
import type { TailEntry } from './tail.js'

interface CachedSlab {
  readonly slab: Slab
  readonly partitions: PartitionState[]
  readonly entries: TailEntry[]
}

/**
 * The newest slabs of the shard, over all partitions, up to a cap. They go in the order in which they were written, so
 * what is cached of a partition is always its end.
 */
export class TailCache {
  readonly #pool: SlabPool
  readonly #bytesMax: number
  readonly #metrics: Metrics
  readonly #slabs: CachedSlab[] = []
  #bytes = 0

  constructor(options: { pool: SlabPool; bytesMax: number; metrics: Metrics }) {
    this.#pool = options.pool
    this.#bytesMax = options.bytesMax
    this.#metrics = options.metrics
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Keeps an entry that lies in `slab`. */
  add(slab: Slab, partition: PartitionState, entry: TailEntry): void {
    let newest = this.#slabs.at(-1)
    if (newest?.slab !== slab) {
      this.#pool.retain(slab)
      newest = { slab, partitions: [], entries: [] }
      this.#slabs.push(newest)
      this.#bytes += slab.buffer.length
    }
    newest.partitions.push(partition)
    newest.entries.push(entry)
  }

  /** Drops the oldest slabs beyond the cap. */
  evict(): void {
    if (this.#bytes <= this.#bytesMax) return
    const before = { bytes: this.#bytes, slabs: this.#slabs.length }
    while (this.#bytes > this.#bytesMax) {
      const oldest = this.#slabs.shift()
      if (oldest === undefined) break
      this.#bytes -= oldest.slab.buffer.length
      for (const entry of oldest.entries) entry.slab = undefined
      for (const partition of oldest.partitions) partition.tail.trim(partition.sealedEnd)
      this.#pool.release(oldest.slab)
    }
    const slabs = before.slabs - this.#slabs.length
    const bytes = before.bytes - this.#bytes
    this.#metrics.count('cacheEvictions', slabs)
    this.#metrics.count('cacheEvictedBytes', bytes)
    this.#metrics.tell?.cacheEviction?.({ slabs, bytes, cachedBytes: this.#bytes })
  }
}
