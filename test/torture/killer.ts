import { setTimeout as sleep } from 'node:timers/promises'
import { type FailpointName, failpointNames, failpointsVariable } from '../../broker/platform/failpoints.js'
import type { HistoryRecorder } from '../checker/recorder.js'
import type { BrokerProcess } from '../support/broker-process.js'
import type { SeededRandom } from '../support/seeded-random.js'

/** Where a broker died; `anywhere`: at no place that has a name. */
export type Place = FailpointName | 'anywhere'

export type Kills = Record<Place, number>

export type Victim = Pick<BrokerProcess, 'start' | 'kill' | 'ended' | 'output'>

export const noKills = (): Kills =>
  Object.fromEntries([...failpointNames, 'anywhere' as const].map((place) => [place, 0])) as Kills

/** How often a failpoint is passed at most before it kills: it is learnt how often each is passed in the time that a broker has. */
const HITS_MAX_FIRST = 2
const HITS_MAX = 256
const SOON_MS = 1_000
/** A broker that has not come to its failpoint by then is killed where it is. */
const PATIENCE_MS = 2_500

/**
 * Kills a broker again and again, by SIGKILL at any time and at each failpoint in turn, and starts it anew. It outlives the broker
 * of a round: what it knows of failpoints serves the next.
 */
export class Killer {
  readonly kills = noKills()
  readonly #random: SeededRandom
  readonly #hitsMax = new Map<FailpointName, number>()
  readonly #tried = new Map<FailpointName, number>()

  constructor(random: SeededRandom) {
    this.#random = random
  }

  get total(): number {
    return Object.values(this.kills).reduce((sum, kills) => sum + kills, 0)
  }

  /**
   * Goes on until the time is over, and leaves the broker running with no failpoint armed. `env` is the environment of the broker's
   * next start. Rejects when it does not come up again.
   */
  async run(options: {
    readonly broker: Victim
    readonly env: Record<string, string>
    readonly history: HistoryRecorder
    readonly isOver: () => boolean
  }): Promise<void> {
    const { broker, env, history, isOver } = options
    let armed: FailpointName | undefined
    for (let isLast = false; !isLast; ) {
      const place = await this.#die(broker, armed)
      this.kills[place]++
      history.record({ type: 'brokerDown', how: 'kill', ...(place !== 'anywhere' && { at: place }) })
      isLast = isOver()
      armed = isLast || this.#random.chance(0.2) ? undefined : this.#next()
      await sleep(this.#random.below(150))
      armed = await this.#start(broker, env, armed)
      history.record({ type: 'brokerUp' })
    }
  }

  /** Waits until it is dead, at its failpoint or anywhere. */
  async #die(broker: Victim, armed: FailpointName | undefined): Promise<Place> {
    const patienceMs = armed === undefined ? 100 + this.#random.below(1_500) : PATIENCE_MS
    const startedMs = performance.now()
    const end = await Promise.race([broker.ended(), sleep(patienceMs, 'lives' as const)])
    if (end === 'SIGKILL' && armed !== undefined) {
      if (performance.now() - startedMs < SOON_MS) this.#learn(armed, (hits) => 2 * hits)
      return armed
    }
    if (end !== 'lives') throw new Error(`the broker ended by itself (${end}):\n${tail(broker.output)}`)
    if (armed !== undefined) this.#learn(armed, (hits) => hits >> 2)
    await broker.kill()
    return 'anywhere'
  }

  /** Starts it; a broker that dies at its failpoint on the way is started again without one. Returns what is armed. */
  async #start(
    broker: Victim,
    env: Record<string, string>,
    armed: FailpointName | undefined,
  ): Promise<FailpointName | undefined> {
    env[failpointsVariable] =
      armed === undefined ? '' : `${armed}=kill@${1 + this.#random.below(this.#hitsMaxOf(armed))}`
    try {
      await broker.start()
      return armed
    } catch (error) {
      if (armed === undefined || !String(error).includes('(SIGKILL)')) throw error
      this.kills[armed]++
      return await this.#start(broker, env, undefined)
    }
  }

  #hitsMaxOf(name: FailpointName): number {
    return this.#hitsMax.get(name) ?? HITS_MAX_FIRST
  }

  #learn(name: FailpointName, other: (hits: number) => number): void {
    this.#hitsMax.set(name, Math.min(HITS_MAX, Math.max(1, other(this.#hitsMaxOf(name)))))
  }

  /** One of those at which it died least, or was to die least: what is hardly ever passed must not take all the time. */
  #next(): FailpointName {
    const tries = (name: FailpointName): number => this.#tried.get(name) ?? 0
    const times = this.#random.chance(0.5) ? tries : (name: FailpointName): number => this.kills[name]
    const least = Math.min(...failpointNames.map(times))
    const name = this.#random.pick(failpointNames.filter((one) => times(one) === least))
    this.#tried.set(name, tries(name) + 1)
    return name
  }
}

const tail = (output: string): string => output.slice(-2_000)
