import { describe, expect, test } from 'vitest'
import { applyAppend, applyCommand } from '../../../broker/shard/apply.js'
import { startMove } from '../../../broker/shard/start-move.js'
import type { PartitionState } from '../../../broker/shard/state.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { COMMAND_SAMPLES } from './command-samples.js'
import { newState, StateWalk } from './state-walk.js'

const NOW = 1_700_000_000_000

describe('applying a command', () => {
  test.each(COMMAND_SAMPLES)('never fails, whatever it finds or does not find: $name', ({ command }) => {
    const empty = newState()
    const walk = new StateWalk(new SeededRandom(4))
    for (let step = 0; step < 100; step++) walk.step()
    const topic = COMMAND_SAMPLES.find(({ name }) => name === 'a topic with the default options')
    const withTopic = newState()
    if (topic !== undefined && command.type !== 'topicCreated') applyCommand(withTopic, topic.command, NOW)
    for (const state of [empty, walk.decided, withTopic]) {
      expect(() => applyCommand(state, command, NOW)).not.toThrow()
      expect(() => state.hash()).not.toThrow()
    }
  })
})

describe('a seal that a deletion has overtaken', () => {
  const seal = (partition: PartitionState, baseOffset: number, endOffset: number) => {
    const { topicId } = partition
    const times = { minAppendTime: NOW, maxAppendTime: NOW }
    const bytes = { byteStart: 64, byteEnd: 128, indexStart: 128, indexBytes: 16 }
    const section = { baseOffset, endOffset, ...bytes, recordCount: 1, ...times, digest: 'd'.repeat(32) }
    return {
      type: 'chunkSealed' as const,
      chunkId: 5,
      rows: [{ topicId, partition: 0, chunkId: 5, section }],
    }
  }

  test('adds nothing to the log', () => {
    const state = newState()
    const [, { command }] = COMMAND_SAMPLES as [unknown, (typeof COMMAND_SAMPLES)[number]]
    applyCommand(state, command, NOW)
    const [topic] = state.topics.values()
    const partition = topic?.partitions[0] as PartitionState
    const entry = { lastOffsetDelta: 9, recordCount: 10, appendTime: NOW }
    const producer = { producerId: 0, producerEpoch: 0, baseSequence: 0 }
    applyAppend(state, partition, { ...entry, ...producer, baseOffset: 0 })
    const late = seal(partition, 0, 10)
    const everything = { startOffset: 10, reason: 'deleteBefore', requestId: null } as const
    applyCommand(state, startMove(partition, everything), NOW)
    expect(partition).toMatchObject({ startOffset: 10, sealedEnd: 10, endOffset: 10 })
    applyCommand(state, late, NOW)
    expect(partition.chunks).toEqual([])
    expect(state.chunkReferences.size).toBe(0)
    applyAppend(state, partition, { ...entry, ...producer, baseOffset: 10 })
    applyCommand(state, seal(partition, 10, 20), NOW)
    expect(partition.chunks).toHaveLength(1)
  })

  test('does not move a start back', () => {
    const state = newState()
    const [, { command }] = COMMAND_SAMPLES as [unknown, (typeof COMMAND_SAMPLES)[number]]
    applyCommand(state, command, NOW)
    const [topic] = state.topics.values()
    const partition = topic?.partitions[0] as PartitionState
    partition.startOffset = 7
    partition.endOffset = 9
    const back = { startOffset: 5, reason: 'age', requestId: null } as const
    applyCommand(state, startMove(partition, back), NOW)
    expect(partition.startOffset).toBe(7)
  })
})
