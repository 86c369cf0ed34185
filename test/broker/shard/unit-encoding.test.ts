import { expect, test, vi } from 'vitest'
import { appendUnit, idBatch } from '../../support/checked-writes.js'
import { append, createTopic, readAll, textBatch } from '../../support/test-shard.js'
import { outcomeOf, SimulatedShard } from './simulated-shard.js'

const failing = vi.hoisted(() => ({ type: '' }))

vi.mock('../../../broker/shard/commands.js', async (original) => {
  const commands = await original<typeof import('../../../broker/shard/commands.js')>()
  const encodeCommand: typeof commands.encodeCommand = (command, record) => {
    if (command.type === failing.type) throw new Error('cannot be encoded')
    return commands.encodeCommand(command, record)
  }
  return { ...commands, encodeCommand }
})

test('a unit whose commands cannot be encoded stops the broker, and nothing of it or beside it is written', async () => {
  const simulated = new SimulatedShard()
  let shard = await simulated.open()
  const topicId = await createTopic(shard, 'orders', 2)
  await append(shard, textBatch(['before'], { topicId }))
  failing.type = 'answered'
  const outcomes = await Promise.all([
    outcomeOf(append(shard, textBatch(['beside'], { topicId, partition: 1 }))),
    outcomeOf(appendUnit(shard, { writes: [idBatch(['half'], { topicId })] })),
  ])
  failing.type = ''
  expect(outcomes.map((outcome) => 'code' in outcome && outcome.code)).toEqual([
    'STORAGE_FAILED',
    'STORAGE_FAILED',
  ])
  expect(simulated.failures).toHaveLength(1)
  shard = await simulated.crash()
  const stored = async (partition: number) =>
    (await readAll(shard, topicId, { partition })).records.map(({ value }) => value)
  expect([await stored(0), await stored(1)]).toEqual([['before'], []])
  await append(shard, textBatch(['after'], { topicId }))
  expect(await stored(0)).toEqual(['before', 'after'])
  await simulated.close()
})
