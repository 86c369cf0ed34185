import { describe, expect, it } from 'vitest'
import type { Shard } from '../../../broker/shard/shard.js'
import { STREAM_LIMITS } from '../../../protocol/limits.js'
import { readAll } from '../../support/test-shard.js'
import { outcomeOf, SimulatedShard } from './simulated-shard.js'
import { create, streamsOf, write } from './written-stream.js'

const by = (producerId: string, seq = 0) => ({ producer: { producerId, epoch: 0, seq } })
const REFUSED = { code: 'LIMIT_REACHED', outcome: 'notWritten' }

/** Two streams of a shard whose streams remember three producers together. */
async function twoStreams() {
  const at = new SimulatedShard()
  const shard = await at.open({ producersMax: 3 })
  const streams = streamsOf(at, shard)
  return { at, shard, streams, a: await create(streams, 'a'), b: await create(streams, 'b') }
}

const remembered = (at: SimulatedShard) => at.metrics.read('streamProducers')

/** Broker time goes on by more than producers are remembered for. */
const longAfter = ({ clock }: SimulatedShard): void =>
  clock.jumpTo(clock.now() + STREAM_LIMITS.producerIdleMs + 1)

const count = async (shard: Shard, ...topics: Parameters<typeof readAll>[1][]): Promise<number[]> => {
  const read = await Promise.all(topics.map((topicId) => readAll(shard, topicId)))
  return read.map(({ records }) => records.length)
}

describe('the producers of all streams together', () => {
  it('are no more than the cap: one more is refused, and writes nothing; those that are known go on', async () => {
    const { at, shard, a, b } = await twoStreams()
    await write(shard, a, '0', by('p'))
    await write(shard, a, '0', by('q'))
    await write(shard, b, '0', by('p'))
    expect(await outcomeOf(write(shard, a, 'x', by('r')))).toEqual(REFUSED)
    expect(await outcomeOf(write(shard, b, 'x', by('q')))).toEqual(REFUSED)
    expect(await write(shard, b, '1', by('p', 1))).toMatchObject({ isDuplicate: false })
    expect(await write(shard, a, '0', by('q'))).toMatchObject({ isDuplicate: true })
    expect(await write(shard, a, 'of nobody')).toMatchObject({ isDuplicate: false })
    expect(await count(shard, a, b)).toEqual([3, 2])
    expect(remembered(at)).toBe(3)
  })

  it('are no more when they come at once', async () => {
    const { at, shard, a, b } = await twoStreams()
    const coming = ['p', 'q', 'r', 's', 't'].flatMap((id) => [
      outcomeOf(write(shard, a, '0', by(id))),
      outcomeOf(write(shard, a, '1', by(id, 1))),
      outcomeOf(write(shard, b, '0', by(id))),
    ])
    const refused = (await Promise.all(coming)).filter((each) => 'code' in each)
    expect(remembered(at)).toBe(3)
    expect(await count(shard, a, b)).toEqual([4, 1])
    expect(refused).toHaveLength(10)
  })

  it('make room when their stream is deleted', async () => {
    const { at, shard, streams, a, b } = await twoStreams()
    for (const id of ['p', 'q', 'r']) await write(shard, a, '0', by(id))
    expect(await outcomeOf(write(shard, b, 'x', by('p')))).toEqual(REFUSED)
    await streams.delete({ topicId: a, requestId: 'd'.repeat(32) as never })
    expect(remembered(at)).toBe(0)
    expect(await write(shard, b, '0', by('p'))).toMatchObject({ isDuplicate: false })
  })

  it.each(['kill', 'power cut', 'clean stop'] as const)(
    'make room for one of another stream when they have been silent for long, the longest silent first, and after a %s too',
    async (how) => {
      const { at, shard: before, a, b } = await twoStreams()
      for (const id of ['p', 'q', 'r']) await write(before, a, '0', by(id))
      at.clock.jumpTo(at.clock.now() + 1)
      await write(before, a, '1', by('p', 1))
      longAfter(at)
      const startAgain = () => (how === 'clean stop' ? at.reopen() : at.crash(how))
      let shard = await startAgain()
      expect(await write(shard, b, '0', by('new'))).toMatchObject({ isDuplicate: false })
      expect(remembered(at)).toBe(3)
      shard = await startAgain()
      expect(remembered(at)).toBe(3)
      // Only "q" is forgotten: of the others every write is known still.
      expect(await write(shard, a, '1', by('p', 1))).toMatchObject({ isDuplicate: true })
      expect(await write(shard, a, '0', by('r'))).toMatchObject({ isDuplicate: true })
      expect(await write(shard, b, '0', by('new'))).toMatchObject({ isDuplicate: true })
      const gap = write(shard, a, '1', by('q', 1))
      expect(await outcomeOf(gap)).toMatchObject({ code: 'SEQUENCE_GAP' })
    },
  )

  it.each([
    ['before', ['p', 'new', 'newer', 'newest']],
    ['after', ['new', 'p', 'newer', 'newest']],
    ['last, after', ['new', 'newer', 'p', 'newest']],
    ['alone after', ['new', 'p']],
  ])(
    'that are forgotten for one another are counted once, and one that writes %s it in that moment is kept',
    async (_when, coming) => {
      const { at, shard, a, b } = await twoStreams()
      for (const id of ['p', 'q', 'r']) await write(shard, a, '0', by(id))
      longAfter(at)
      const written = coming.map((id) =>
        outcomeOf(id === 'p' ? write(shard, a, '1', by(id, 1)) : write(shard, b, '0', by(id))),
      )
      const [newest, ...others] = (await Promise.all(written)).reverse()
      expect(others).toMatchObject(others.map(() => ({ isDuplicate: false })))
      expect(newest).toMatchObject(coming.length > 3 ? REFUSED : { isDuplicate: false })
      expect(remembered(at)).toBe(3)
      expect(await write(shard, a, '1', by('p', 1))).toMatchObject({ isDuplicate: true })
    },
  )

  it('are more than the cap after a start with room for fewer; new ones wait until enough of them are silent', async () => {
    const { at, shard: before, a, b } = await twoStreams()
    for (const id of ['p', 'q', 'r']) await write(before, a, '0', by(id))
    await before.close()
    const shard = await at.open({ producersMax: 1 })
    expect(remembered(at)).toBe(3)
    expect(await outcomeOf(write(shard, b, 'x', by('new')))).toEqual(REFUSED)
    longAfter(at)
    expect(await write(shard, b, '0', by('new'))).toMatchObject({ isDuplicate: false })
    expect(remembered(at)).toBe(1)
  })
})
