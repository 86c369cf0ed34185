import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import type { Shard, ShardLimits } from '../../../broker/shard/shard.js'
import type { MillraceError } from '../../../protocol/error-codes.js'
import { ManualClock } from '../../support/manual-clock.js'
import { SimulatedDisk, type SimulatedDiskOptions } from '../../support/simulated-disk.js'
import { SimulatedStore } from '../../support/simulated-store.js'
import { openTestShard } from '../../support/test-shard.js'
import { until as untilSoon } from '../../support/until.js'

/** A shard on a disk, a store and a clock that do only what the test says, and all that it reports. */
export class SimulatedShard {
  disk: SimulatedDisk
  store: SimulatedStore
  clock = new ManualClock()
  failpoints = new ArmedFailpoints()
  metrics = new MemoryMetrics()
  readonly failures: unknown[] = []
  readonly warnings: string[] = []
  #shard: Shard | undefined
  #limits: Partial<ShardLimits> = {}
  readonly #stalls: (() => void)[] = []

  constructor(options: SimulatedDiskOptions = {}) {
    this.disk = new SimulatedDisk(options)
    this.store = new SimulatedStore()
  }

  async open(limits: Partial<ShardLimits> = this.#limits): Promise<Shard> {
    this.#limits = limits
    this.metrics = new MemoryMetrics()
    const { disk } = this
    this.#shard = await openTestShard({
      directory: '/data',
      disk: this.disk,
      store: this.store,
      clock: this.clock,
      failpoints: this.failpoints,
      metrics: this.metrics,
      limits,
      onFailed: (error) => void (disk.isDead || this.failures.push(error)),
      onWarning: (message) => this.warnings.push(message),
    })
    return this.#shard
  }

  /** Ends the process as SIGKILL or a power cut would, and starts the next one. */
  async crash(how: 'kill' | 'power cut' = 'kill'): Promise<Shard> {
    this.#shard = undefined
    this.disk = how === 'kill' ? this.disk.kill() : this.disk.crash()
    this.store = this.store.crash()
    this.failpoints = new ArmedFailpoints()
    this.clock = new ManualClock(this.clock.now())
    return await this.open()
  }

  async reopen(): Promise<Shard> {
    await this.#shard?.close()
    return await this.open()
  }

  async close(): Promise<void> {
    for (const release of this.#stalls) release()
    await this.#shard?.close()
  }

  counter(name: keyof ReturnType<MemoryMetrics['snapshot']>['counters']): number {
    return this.metrics.snapshot().counters[name]
  }

  files(directory: string): Promise<string[]> {
    return this.disk.list(`/data/${directory}`)
  }

  /** Holds up whoever comes to a failpoint, from now on until `release`. */
  stall(name: 'walBeforeWrite' | 'manifestBeforeFlush' | 'sealBeforeCommit' | 'sealAfterCommit'): Stall {
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const before = this.failpoints.hits(name)
    this.failpoints.arm(name, () => released, { andAfter: true })
    this.#stalls.push(release)
    return { release, held: () => until(() => this.failpoints.hits(name) > before) }
  }
}

export interface Stall {
  readonly release: () => void
  /** Resolves once someone is held up. */
  readonly held: () => Promise<void>
}

/** Looks again in each turn of the loop: nothing here takes longer. */
export const until = (holds: () => boolean | Promise<boolean>): Promise<void> =>
  untilSoon(holds, { everyMs: 0 })

/** Lets everything that needs no timer come to its end. */
export async function quiet(turns = 50): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** What became of a request: its value, or the code and outcome of its refusal. */
export async function outcomeOf<T>(promise: Promise<T>): Promise<T | { code: string; outcome: string }> {
  return await promise.catch(({ code, outcome }: MillraceError) => ({ code, outcome }))
}
