import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { STREAM_LIMITS } from '../../../protocol/limits.js'
import { outcomeOf, SimulatedShard } from './simulated-shard.js'
import { create, streamsOf, write } from './written-stream.js'

// Two producers to a stream: with the 10,000 that there are this would take minutes.
const { producersMax } = STREAM_LIMITS
beforeAll(() => void Object.assign(STREAM_LIMITS, { producersMax: 2 }))
afterAll(() => void Object.assign(STREAM_LIMITS, { producersMax }))

const by = (producerId: string, seq = 0) => ({ producer: { producerId, epoch: 0, seq } })

describe('the silent producers of a stream that has room for no more', () => {
  it('make it once, for its own and for all streams together, however many come at once', async () => {
    const at = new SimulatedShard()
    const shard = await at.open({ producersMax: 4 })
    const streams = streamsOf(at, shard)
    const a = await create(streams, 'a')
    const b = await create(streams, 'b')
    const c = await create(streams, 'c')
    for (const [stream, id] of [
      [a, 'p'],
      [a, 'q'],
      [b, 'r'],
      [b, 's'],
    ] as const)
      await write(shard, stream, '0', by(id))
    at.clock.jumpTo(at.clock.now() + STREAM_LIMITS.producerIdleMs + 1)
    for (const id of ['r', 's']) await write(shard, b, '1', by(id, 1))
    const written = [
      // While this is written the others gather, and are decided on together.
      outcomeOf(write(shard, b, 'of nobody')),
      // "p" and "q" go for the first, which leaves room for the second; for the third they are gone already.
      outcomeOf(write(shard, a, '0', by('first'))),
      outcomeOf(write(shard, c, '0', by('second'))),
      outcomeOf(write(shard, a, '0', by('third'))),
    ]
    const isDuplicate = false
    expect(await Promise.all(written)).toMatchObject([
      { isDuplicate },
      { isDuplicate },
      { isDuplicate },
      { code: 'LIMIT_REACHED', outcome: 'notWritten' },
    ])
    expect(at.metrics.read('streamProducers')).toBe(4)
  })
})
