import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../broker/platform/clock.js'
import { ByteBudget } from '../../../broker/session/byte-budget.js'
import { FairQueue } from '../../../broker/session/fair-queue.js'
import { DEFAULT_SESSION_LIMITS } from '../../../broker/session/limits.js'
import type { Outbox } from '../../../broker/session/outbox.js'
import { Rotation } from '../../../broker/session/rotation.js'

const KIB = 1024
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function start() {
  const outbox = { waitingBytes: 0 }
  const budget = new ByteBudget(1024 * KIB)
  const fairQueue = new FairQueue(systemClock)
  const limits = { ...DEFAULT_SESSION_LIMITS, deliverMarkBytes: 100 * KIB }
  const rotation = new Rotation({ outbox: outbox as unknown as Outbox, fairQueue, budget, limits })
  return { outbox, budget, rotation }
}

describe('the rotation of a connection', () => {
  it('gives each a turn in order of entry, and one that enters twice only one', async () => {
    const { rotation } = start()
    const turns: string[] = []
    const named = (name: string) => ({ turn: () => void turns.push(name) })
    const [a, b, c] = [named('a'), named('b'), named('c')]
    for (const one of [a, b, a, c]) rotation.enter(one)
    rotation.leave(b)
    expect(turns).toEqual([])
    await settled()
    expect(turns).toEqual(['a', 'c'])
  })

  it('stops while the mark is passed in the socket, by reads under way, or by both', async () => {
    const { rotation, outbox } = start()
    let turns = 0
    const again = { turn: () => void turns++ }
    const tryOnce = async (): Promise<number> => {
      rotation.enter(again)
      rotation.resume()
      await settled()
      return turns
    }
    outbox.waitingBytes = 100 * KIB
    expect(await tryOnce()).toBe(0)
    outbox.waitingBytes = 50 * KIB
    const end = rotation.reserve(50 * KIB)
    expect(await tryOnce()).toBe(0)
    end()
    await settled()
    expect(turns).toBe(1)
  })

  it('gives no turn after its connection has gone', async () => {
    const { rotation } = start()
    let turns = 0
    const one = { turn: () => void turns++ }
    rotation.enter(one)
    rotation.close()
    rotation.enter(one)
    await settled()
    expect(turns).toBe(0)
  })
})
