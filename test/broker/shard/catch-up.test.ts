import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { append, createTopic, textBatch } from '../../support/test-shard.js'
import { SimulatedShard, until } from './simulated-shard.js'

const KIB = 1024
const BATCHES = 16
const BATCH_BYTES = 64 * KIB
const READERS = 40

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

beforeEach(async () => {
  simulated = new SimulatedShard()
  const limits = { changesBytesMax: 0, tailCacheBytes: 0, chunkBytes: 512 * KIB }
  shard = await simulated.open({ ...limits, batchBytesMax: 256 * KIB, recordBytesMax: 256 * KIB })
  topicId = await createTopic(shard, 'history')
  const value = 'x'.repeat(BATCH_BYTES)
  for (let i = 0; i < BATCHES; i++) await append(shard, textBatch([value], { topicId, partition: 0 }))
  await until(() => simulated.counter('chunksSealed') > 0)
})

afterEach(async () => {
  await simulated.close()
  expect(simulated.failures).toEqual([])
})

/** Reads what is sealed; says how much that was, and in which turns of the event loop it came. */
async function readSealed(turn: () => number, maxBytes: number): Promise<{ bytes: number; turns: number[] }> {
  const turns: number[] = []
  let bytes = 0
  for (let offset = 0; offset < BATCHES; ) {
    const read = await shard.read({ topicId, partition: 0, offset, maxBytes })
    const { source, nextOffset } = read
    read.release()
    if (source !== 'chunk') break
    turns.push(turn())
    bytes += read.bytes
    offset = nextOffset
  }
  return { bytes, turns }
}

test.each([64 * KIB, 256 * KIB])(
  'readers of the history, %i bytes at a time, share little memory, and what they read comes one by one',
  async (maxBytes) => {
    let turn = 0
    let isOver = false
    const count = (): void => {
      turn++
      if (!isOver) setImmediate(count)
    }
    setImmediate(count)
    let allocated = 0
    const { allocUnsafeSlow } = Buffer
    const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow').mockImplementation((bytes) => {
      allocated += bytes
      return allocUnsafeSlow(bytes)
    })
    try {
      const read = await Promise.all(Array.from({ length: READERS }, () => readSealed(() => turn, maxBytes)))
      // Fresh memory for each read would be some 30 MB.
      for (const { bytes } of read) expect(bytes).toBeGreaterThan(512 * KIB)
      expect(allocated).toBeLessThan(2048 * KIB)
      const turns = read.flatMap((each) => each.turns)
      expect(new Set(turns).size).toBe(turns.length)
    } finally {
      isOver = true
      allocate.mockRestore()
    }
  },
)
