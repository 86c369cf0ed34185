import { describe, expect, it } from 'vitest'
import { failpointNames, failpointsVariable } from '../../broker/platform/failpoints.js'
import { HistoryRecorder } from '../checker/recorder.js'
import { SeededRandom } from '../support/seeded-random.js'
import { Killer, type Victim } from './killer.js'

const never = new Promise<never>(() => {})

/** A broker that comes to whatever failpoint it is started with, at once. */
class FakeBroker implements Victim {
  readonly env: Record<string, string> = {}
  readonly output = 'what it logged'
  starts = 0
  kills = 0
  #armed = ''

  ended(): ReturnType<Victim['ended']> {
    return this.#armed === '' ? never : Promise.resolve('SIGKILL' as const)
  }

  async kill(): Promise<void> {
    this.kills++
  }

  async start(): Promise<void> {
    this.starts++
    this.#armed = this.env[failpointsVariable] ?? ''
  }
}

async function killed(
  broker: FakeBroker,
  lives: number,
): Promise<{ killer: Killer; history: HistoryRecorder }> {
  const killer = new Killer(new SeededRandom(1))
  const history = new HistoryRecorder()
  await killer.run({ broker, env: broker.env, history, isOver: () => killer.total >= lives })
  return { killer, history }
}

describe('the killer', () => {
  it('counts where a broker died, at every failpoint in turn, and leaves it running without one', async () => {
    const broker = new FakeBroker()
    const { killer, history } = await killed(broker, 30)
    expect(killer.total).toBe(30)
    for (const name of failpointNames) expect(killer.kills[name], name).toBeGreaterThan(0)
    // Where it was killed from outside.
    expect(killer.kills.anywhere).toBe(broker.kills)
    expect(broker.env[failpointsVariable]).toBe('')
    const downs = history.events.filter((event) => event.type === 'brokerDown')
    expect(downs).toHaveLength(30)
    expect(downs.filter(({ at }) => at === undefined)).toHaveLength(broker.kills)
  })

  it('starts a broker again that died on its way up, without the failpoint', async () => {
    class Stillborn extends FakeBroker {
      override async start(): Promise<void> {
        await super.start()
        if (this.env[failpointsVariable] !== '')
          throw new Error('the broker ended (SIGKILL) before it was ready')
      }
    }
    const broker = new Stillborn()
    const { killer } = await killed(broker, 6)
    expect(killer.total).toBeGreaterThanOrEqual(6)
    expect(killer.kills.anywhere).toBe(broker.kills)
    expect(broker.starts).toBe(killer.total)
  })

  it('takes nothing for a kill that a broker did by itself', async () => {
    class Failing extends FakeBroker {
      override ended(): ReturnType<Victim['ended']> {
        return Promise.resolve(1)
      }
    }
    await expect(killed(new Failing(), 1)).rejects.toThrow('ended by itself (1):\nwhat it logged')
    class Refusing extends FakeBroker {
      override async start(): Promise<void> {
        throw new Error('the broker ended (1) before it was ready')
      }
    }
    await expect(killed(new Refusing(), 1)).rejects.toThrow('ended (1)')
  })
})
