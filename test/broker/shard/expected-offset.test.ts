import { describe, expect, test } from 'vitest'
import type { AppendBatch } from '../../../broker/shard/append-batch.js'
import type { Shard } from '../../../broker/shard/shard.js'
import type { TopicId } from '../../../protocol/ids.js'
import { idBatch } from '../../support/checked-writes.js'
import { append, readAll, someRequestId } from '../../support/test-shard.js'
import { shardForEach } from './shard-for-each.js'
import { outcomeOf, type SimulatedShard } from './simulated-shard.js'

let simulated: SimulatedShard
let shard: Shard
let topicId: TopicId

shardForEach(
  (made) => {
    ;({ simulated, shard, topicId } = made)
  },
  { topic: 'accounts' },
)

const send = (records: string[], fields: Partial<AppendBatch> = {}) =>
  append(shard, idBatch(records, { topicId, ...fields }))

describe('an append with an expected offset', () => {
  test('is written when the partition ends there, and otherwise changes nothing and names the actual end', async () => {
    expect(await send(['a', 'b'], { expectedOffset: 0 })).toMatchObject({ baseOffset: 0 })
    const hash = shard.stateHash()
    for (const expectedOffset of [0, 1, 3, Number.MAX_SAFE_INTEGER]) {
      const refusal = await send(['c'], { expectedOffset }).catch((error: unknown) => error)
      expect(refusal).toMatchObject({
        code: 'EXPECTED_OFFSET_CONFLICT',
        retriable: false,
        outcome: 'notWritten',
        details: { expectedOffset, actualOffset: 2 },
      })
    }
    expect(shard.stateHash()).toBe(hash)
    expect(simulated.counter('expectedOffsetConflicts')).toBe(4)
    expect(await send(['c'], { expectedOffset: 2 })).toMatchObject({ baseOffset: 2 })
    expect(await send(['d'], { expectedOffset: 0, partition: 1 })).toMatchObject({ baseOffset: 0 })
  })

  test('wins alone against others that expect the same, in one group and across groups', async () => {
    for (let round = 0; round < 5; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 10 }, (_, i) => outcomeOf(send([`${round} ${i}`], { expectedOffset: round }))),
      )
      expect(outcomes.filter((outcome) => !('code' in outcome))).toHaveLength(1)
    }
    const stall = simulated.stall('walBeforeWrite')
    const first = send(['first'], { expectedOffset: 5 })
    await stall.held()
    const second = outcomeOf(send(['second'], { expectedOffset: 5 }))
    stall.release()
    expect(await first).toMatchObject({ baseOffset: 5 })
    expect(await second).toMatchObject({ code: 'EXPECTED_OFFSET_CONFLICT' })
    expect((await readAll(shard, topicId)).records).toHaveLength(6)
  })

  test('that its producer sends again gets its first answer, although the partition has grown', async () => {
    const producer = await shard.initProducer({ requestId: someRequestId(), name: null })
    const batch = { ...producer, baseSequence: 0, expectedOffset: 0 }
    const first = await send(['a'], batch)
    await send(['b'])
    expect(await send(['a'], batch)).toEqual({ ...first, duplicate: true })
    // A refused one did not use its sequence.
    const refused = { ...producer, baseSequence: 1, expectedOffset: 0 }
    expect(await outcomeOf(send(['c'], refused))).toMatchObject({ code: 'EXPECTED_OFFSET_CONFLICT' })
    expect(await send(['c'], { ...refused, expectedOffset: 2 })).toMatchObject({ baseOffset: 2 })
  })

  test('that is refused leaves its dedup ids unknown', async () => {
    expect(await outcomeOf(send(['a=1'], { expectedOffset: 7 }))).toMatchObject({
      code: 'EXPECTED_OFFSET_CONFLICT',
    })
    expect(await send(['a=1'], { expectedOffset: 0 })).toMatchObject({ duplicates: null })
  })
})
