import { type Broker, startBroker } from '../../broker/broker.js'
import type { BrokerOptions } from '../../broker/config/schema.js'
import type { Logger } from '../../broker/log.js'
import type { Clock } from '../../broker/platform/clock.js'
import type { Failpoints } from '../../broker/platform/failpoints.js'
import type { HistoryRecorder } from '../checker/recorder.js'
import type { SeededRandom } from '../support/seeded-random.js'
import type { SimulatedDisk } from '../support/simulated-disk.js'
import type { SimulatedStore } from '../support/simulated-store.js'
import type { SimulatedNetwork } from './network.js'
import { Owner, type Scheduler } from './scheduler.js'

export type CrashKind = 'powerCut' | 'kill'

export interface BrokerProcessOptions {
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly network: SimulatedNetwork
  readonly history: HistoryRecorder
  readonly disk: SimulatedDisk
  readonly store: SimulatedStore
  readonly config: BrokerOptions
  readonly failpoints: Failpoints
  /** The broker's wall clock, milliseconds since 1970. */
  readonly wallMs: () => number
  /** It is down. */
  readonly onEnd: () => void
}

const LEVELS_HEARD: ReadonlySet<string> = new Set(['warn', 'error', 'fatal'])

interface Life {
  readonly owner: Owner
  broker: Broker | undefined
  state: 'starting' | 'serving' | 'stopping'
}

/** The machine with the broker: starts it, ends it in the ways in which it may end, starts it again on what its disk holds. */
export class BrokerProcess {
  readonly #options: BrokerProcessOptions
  #disk: SimulatedDisk
  #store: SimulatedStore
  #life: Life | undefined
  #lives = 0
  /** How often it ended, and how. */
  readonly ends = { powerCut: 0, kill: 0, stop: 0, failed: 0 }
  tornTails = 0
  readonly warnings: string[] = []
  /** Its disk was made to fail in a way that may end it: then an end is no finding. Until the next one. */
  isExcused = false

  constructor(options: BrokerProcessOptions) {
    this.#options = options
    this.#disk = options.disk
    this.#store = options.store
  }

  get disk(): SimulatedDisk {
    return this.#disk
  }

  get store(): SimulatedStore {
    return this.#store
  }

  get isServing(): boolean {
    return this.#life?.state === 'serving'
  }

  get isRunning(): boolean {
    return this.#life !== undefined
  }

  /** Whose events are the broker's. */
  get owner(): Owner | undefined {
    return this.#life?.owner
  }

  start(): void {
    if (this.#life !== undefined) return
    const owner = new Owner(`broker ${++this.#lives}`)
    const life: Life = { owner, broker: undefined, state: 'starting' }
    this.#life = life
    this.#options.scheduler.after(0, () => void this.#begin(life), { kind: 'start', owner })
  }

  async #begin(life: Life): Promise<void> {
    const { scheduler, config, random, failpoints, network, history } = this.#options
    try {
      const broker = await startBroker(
        { ...config, log: this.#log(life.owner) },
        {
          disk: this.#disk,
          clock: this.#clock(life.owner),
          random: random.fork(),
          failpoints,
          lockDirectory: async () => ({ release: async () => {} }),
          openStore: async () => this.#store,
          listen: (options) => network.listen(options),
        },
      )
      life.broker = broker
      life.state = 'serving'
      if (broker.recovery.tornTail !== undefined) this.tornTails++
      if (this.#life !== life) return
      history.record({ type: 'brokerUp' })
      scheduler.note('up')
      void broker.failed.then((error) => this.#failed(life, error))
    } catch (error) {
      this.#failed(life, error)
    }
  }

  /** The broker gave up, at the start or later; what its process does then is to exit. */
  #failed(life: Life, error: unknown): void {
    if (life.owner.isDead) return
    const { scheduler, history } = this.#options
    scheduler.note('failed', String(error))
    if ((error as { code?: string }).code === 'CORRUPT_DATA')
      history.record({
        type: 'damageFound',
        by: 'the broker',
        message: String(error),
        isExplained: this.isExcused,
      })
    if (!this.isExcused) {
      scheduler.fail(new Error('the broker gave up with nothing wrong', { cause: error }))
      return
    }
    this.ends.failed++
    history.record({ type: 'brokerDown', how: 'failed' })
    this.#end(life, 'kill')
  }

  /** The power fails, or the process is killed. */
  crash(how: CrashKind, at?: string): void {
    const life = this.#life
    if (life === undefined) {
      // Nobody is there to notice, but what the page cache holds is lost.
      if (how === 'powerCut') this.#disk = this.#disk.crash()
      return
    }
    this.ends[how]++
    this.#options.scheduler.note('crash', how)
    this.#options.history.record({ type: 'brokerDown', how, at })
    this.#end(life, how)
  }

  /** Stops it as an operator does. Resolves when it is gone. */
  stop(): void {
    const life = this.#life
    if (life?.broker === undefined || life.state !== 'serving') return
    life.state = 'stopping'
    const { scheduler, history } = this.#options
    const { broker } = life
    const run = async (): Promise<void> => {
      try {
        await broker.close()
      } catch (error) {
        return this.#failed(life, error)
      }
      if (life.owner.isDead) return
      this.ends.stop++
      scheduler.note('stopped')
      history.record({ type: 'brokerDown', how: 'stop' })
      // Nothing is left that a power cut could take.
      this.#end(life, this.#options.random.pick(['kill', 'powerCut']))
    }
    scheduler.after(0, () => void run(), { kind: 'stop', owner: life.owner })
  }

  #end(life: Life, how: CrashKind): void {
    life.owner.isDead = true
    this.#life = undefined
    this.#disk = how === 'powerCut' ? this.#disk.crash() : this.#disk.kill()
    this.#store = this.#store.crash()
    this.isExcused = false
    this.#options.network.cutAllOf(life.owner)
    this.#options.onEnd()
  }

  #clock(owner: Owner): Clock {
    const { scheduler, wallMs } = this.#options
    return {
      now: wallMs,
      monotonic: () => scheduler.nowMs,
      setTimer(fn, ms) {
        // As the loop's own timers: none is shorter.
        const task = scheduler.after(Math.max(1, ms), fn, { kind: 'timer', owner })
        return {
          cancel() {
            task.isCancelled = true
          },
        }
      },
    }
  }

  #log(owner: Owner): Logger {
    const note = (_fields: unknown, message?: string): void => {
      if (typeof message === 'string') this.warnings.push(message)
    }
    /** What nobody expected, and every client is answered INTERNAL for. */
    const broken = (fields: { err?: unknown } | string, message?: string): void => {
      if (owner.isDead) return
      const cause = typeof fields === 'object' ? fields.err : undefined
      this.#options.scheduler.fail(
        new Error(`the broker logged an error: ${message ?? String(fields)}`, { cause }),
      )
    }
    const ignore = (): void => {}
    const isLevelEnabled = (level: string): boolean => LEVELS_HEARD.has(level)
    const write = { trace: ignore, debug: ignore, info: ignore, warn: note, error: broken, fatal: broken }
    const log = { ...write, isLevelEnabled }
    return { ...log, child: () => log } as unknown as Logger
  }
}
