import { describe, expect, test } from 'vitest'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { PartitionState } from '../../../broker/shard/state.js'
import type { TailEntry } from '../../../broker/shard/tail.js'
import { TailCache } from '../../../broker/shard/tail-cache.js'
import { type Slab, SlabPool } from '../../../broker/wal/slab.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard } from './simulated-shard.js'

const KIB = 1024
const SLAB_BYTES = 64 * KIB
const BYTES_MAX = 3 * SLAB_BYTES

describe('the tail cache', () => {
  test('never exceeds its cap, and gives slabs back to the pool with their last user', () => {
    const pool = new SlabPool({ slabBytes: SLAB_BYTES, freeBytesMax: SLAB_BYTES })
    const metrics = new MemoryMetrics()
    const cache = new TailCache({ pool, bytesMax: BYTES_MAX, metrics })
    const partition = new PartitionState('a'.repeat(32) as TopicId, 0)
    const entries: TailEntry[] = []
    const write = (bytes: number): Slab => {
      const slab = pool.take(bytes)
      const baseOffset = entries.length
      const entry = {
        ...{ baseOffset, endOffset: baseOffset + 1, appendTime: 0, bytes, sequence: 1, segment: 1 },
        ...{ position: 0, slab, slabPosition: 0 },
      }
      entries.push(entry)
      partition.tail.push(entry)
      cache.add(slab, partition, entry)
      pool.release(slab)
      cache.evict()
      expect(cache.bytes).toBeLessThanOrEqual(BYTES_MAX)
      return slab
    }
    for (let i = 0; i < 10; i++) write(KIB)
    expect(cache.bytes).toBe(BYTES_MAX)
    expect(pool.bytesInUse).toBe(BYTES_MAX)
    expect(entries.map(({ slab }) => slab !== undefined)).toEqual([...Array(7).fill(false), true, true, true])

    // A send that is under way keeps its slab, and no other.
    const sent = entries[7]?.slab as Slab
    pool.retain(sent)
    for (let i = 0; i < 3; i++) write(KIB)
    expect(pool.bytesInUse).toBe(BYTES_MAX + SLAB_BYTES)
    pool.release(sent)
    expect(pool.bytesInUse).toBe(BYTES_MAX)

    // One that is larger than the whole cache is not kept at all.
    write(4 * SLAB_BYTES)
    expect(cache.bytes).toBe(0)
    expect(pool.bytesInUse).toBe(0)
    expect(entries.every(({ slab }) => slab === undefined)).toBe(true)
  })

  test('of a shard stays below its cap while records go by, and so do the entries it remembers', async () => {
    const simulated = new SimulatedShard()
    const shard = await simulated.open({ tailCacheBytes: 256 * KIB })
    const topicId = await createTopic(shard, 'orders', 4)
    for (let i = 0; i < 150; i++) {
      await append(shard, textBatch(['x'.repeat(10 * KIB)], { topicId, partition: i % 4 }))
      const { tailCacheBytes } = simulated.metrics.snapshot().gauges
      expect(tailCacheBytes).toBeLessThanOrEqual(256 * KIB)
    }
    expect(simulated.metrics.snapshot().gauges.tailCacheBytes).toBeGreaterThan(128 * KIB)
    await simulated.close()
  })
})
