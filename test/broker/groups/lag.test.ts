import { describe, expect, it } from 'vitest'
import { lagOf } from '../../../broker/groups/lag.js'
import type { ChunkRow } from '../../../broker/manifest/rows.js'
import { PartitionState } from '../../../broker/shard/state.js'
import type { TopicId } from '../../../protocol/ids.js'

const topicId = 'a'.repeat(32) as TopicId

/** Chunks [0, 100) and [100, 200) of 1000 bytes, appended at 1000 to 2000 and 2000 to 3000; then ten entries of ten records and 50 bytes, one every 100 ms. */
function partition(): PartitionState {
  const state = new PartitionState(topicId, 0)
  for (const n of [0, 1]) {
    state.chunks.push({
      topicId,
      partition: 0,
      chunkId: n,
      section: {
        baseOffset: 100 * n,
        endOffset: 100 * (n + 1),
        byteStart: 4096,
        byteEnd: 5000,
        indexStart: 0,
        indexBytes: 96,
        recordCount: 100,
        minAppendTime: 1000 * (n + 1),
        maxAppendTime: 1000 * (n + 2),
        digest: '',
      },
    } satisfies ChunkRow)
  }
  state.sealedEnd = 200
  for (let n = 0; n < 10; n++) {
    const baseOffset = 200 + 10 * n
    const place = { sequence: n, segment: 0, position: 0, slab: undefined, slabPosition: 0 }
    state.tail.push({
      ...place,
      baseOffset,
      endOffset: baseOffset + 10,
      appendTime: 3000 + 100 * n,
      bytes: 50,
    })
  }
  state.endOffset = 300
  return state
}

describe('the lag of a reader', () => {
  it('is zero at the end', () => {
    expect(lagOf(partition(), 300, 9000)).toEqual({ records: 0, bytes: 0, ms: 0 })
  })

  it('is exact in what is not sealed yet', () => {
    expect(lagOf(partition(), 290, 9000)).toEqual({ records: 10, bytes: 50, ms: 9000 - 3900 })
    expect(lagOf(partition(), 200, 9000)).toEqual({ records: 100, bytes: 500, ms: 6000 })
  })

  it('counts chunks and what follows them, each once', () => {
    expect(lagOf(partition(), 0, 9000)).toEqual({ records: 300, bytes: 2500, ms: 8000 })
  })

  it('takes its share of the chunk in which it stands', () => {
    expect(lagOf(partition(), 150, 9000)).toEqual({ records: 150, bytes: 1000, ms: 6500 })
  })

  it('does not count what the cache still has of sealed records twice', () => {
    const state = partition()
    state.sealedEnd = 250
    state.tail.sealed({ from: 200, to: 250 })
    const section = { ...state.chunks[1]?.section, baseOffset: 200, endOffset: 250 } as ChunkRow['section']
    state.chunks.push({ topicId, partition: 0, chunkId: 3, section })
    expect(lagOf(state, 200, 9000).bytes).toBe(1000 + 250)
  })

  it('begins at the start offset when what was before is deleted', () => {
    const state = partition()
    state.chunks.shift()
    state.startOffset = 100
    expect(lagOf(state, 0, 9000)).toEqual({ records: 200, bytes: 1500, ms: 7000 })
  })

  it('is that of the next record when the position lies in a gap', () => {
    const state = partition()
    const last = state.chunks[1] as ChunkRow
    state.chunks[1] = { ...last, section: { ...last.section, baseOffset: 110 } }
    expect(lagOf(state, 105, 9000)).toEqual({ records: 195, bytes: 1500, ms: 7000 })
  })

  it('is never negative, whatever the clock says', () => {
    expect(lagOf(partition(), 200, 1).ms).toBe(0)
  })
})
