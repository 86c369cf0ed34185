import type { Clock, Timer } from '../platform/clock.js'
import type { Disk } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { ChangeLog } from './change-log.js'
import type { Command } from './commands.js'
import { Crossings } from './crossings.js'
import { CursorExpiry } from './cursor-expiry.js'
import { DiskWatermark } from './disk-watermark.js'
import type { Change } from './group-commit.js'
import { type IsLive, LagWatch } from './lag-watch.js'
import { ProducerExpiry } from './producer-expiry.js'
import { Retention } from './retention-run.js'
import type { ShardLimits } from './shard-limits.js'
import type { PartitionState, ShardState } from './state.js'

export interface HousekeepingOptions {
  readonly state: ShardState
  readonly disk: Disk
  readonly directory: string
  readonly clock: Clock
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  readonly limits: ShardLimits
  readonly log: ChangeLog
  readonly submit: <T>(change: Change<T>) => Promise<T>
  /** Broker time. */
  readonly time: () => number
  /** Writes the events that are due. */
  readonly flushLog: () => void
  /** Removes the files of what was deleted. */
  readonly freeSpace: () => void
  readonly warn: (message: string, error: unknown) => void
}

const INTERVAL_MS = 1000
/** Tables double: the last quarter of the memory may be too little for it. */
const DEDUP_SURE_SHARE = 0.75

/** Does once a second what no request brings about: looks at the disk, and deletes what is due. */
export class Housekeeping {
  readonly watermark: DiskWatermark
  readonly #options: HousekeepingOptions
  readonly #producers: ProducerExpiry
  readonly #retention: Retention
  readonly #lags: LagWatch
  readonly #cursors: CursorExpiry
  readonly #startedAt: number
  readonly #downMs: number
  readonly #fullness = new Crossings()
  #isLive: IsLive = () => false
  #timer: Timer | undefined
  #stopped = false

  /** Make it before anything is logged: what was logged last tells how long the broker was down. */
  constructor(options: HousekeepingOptions) {
    this.#options = options
    const { state, disk, directory, metrics, failpoints, limits, log, submit } = options
    this.#startedAt = options.time()
    this.#downMs = this.#startedAt - state.time
    const warn = (message: string): void => options.warn(message, undefined)
    const isLive: IsLive = (groupId, topicId) => this.#isLive(groupId, topicId)
    this.watermark = new DiskWatermark({
      disk,
      directory,
      freeBytesMin: limits.diskFreeBytesMin,
      metrics,
      warn,
    })
    this.#producers = new ProducerExpiry({ state, submit, limits })
    this.#retention = new Retention({ state, metrics, failpoints, submit, warn })
    this.#lags = new LagWatch({ state, metrics, log, warn, isLive })
    this.#cursors = new CursorExpiry({
      state,
      submit,
      isLive,
      expired: ({ group, topic, partition }) => {
        metrics.count('cursorsExpired')
        warn(
          `the cursor of group "${group}" in partition ${partition} of topic "${topic}" was idle: it is deleted`,
        )
      },
    })
  }

  /** Says which groups have members: until then no group has any. */
  setLiveGroups(isLive: IsLive): void {
    this.#isLive = isLive
  }

  /** Resolves after the first round. */
  async start(): Promise<void> {
    if (this.#stopped) return
    try {
      await this.#round()
    } catch (error) {
      if (!this.#isStopped()) this.#options.warn('housekeeping failed; it is tried again', error)
    }
    if (this.#isStopped()) return
    this.#timer = this.#options.clock.setTimer(() => void this.start(), INTERVAL_MS, { unref: true })
  }

  async #round(): Promise<void> {
    const { time, log, flushLog } = this.#options
    await this.watermark.look()
    await this.#producers.run(time())
    const uptime = { now: time(), startedAt: this.#startedAt, downMs: this.#downMs }
    // The warning comes before the deletion.
    this.#lags.run(uptime)
    await this.#retention.run(time())
    await this.#cursors.run(uptime)
    this.#warnOfDedupMemory()
    log.tellCursors(time())
    if (log.isWaiting) flushLog()
  }

  /** At the cap, batches with dedup ids are refused: time to say it before. */
  #warnOfDedupMemory(): void {
    const { state, limits, warn } = this.#options
    const { bytes, ids } = state.dedup
    const { dedupBytesMax } = limits
    if (this.#fullness.crossed('dedup', bytes / (DEDUP_SURE_SHARE * dedupBytesMax))) {
      const message = `${ids} dedup ids take ${bytes} bytes of ${dedupBytesMax}: at the cap, records with ids are refused`
      warn(`${message}; shorten the topics' dedupWindowMs or raise dedupBytesMax`, undefined)
    }
    this.#fullness.endRound()
  }

  /** These commands were applied. With room on the disk the next flush of the manifest is soon enough for files to go. */
  applied(commands: Iterable<Command>): void {
    if (!this.watermark.isFull) return
    const frees = [...commands].some(({ type }) => type === 'startMoved' || type === 'topicDeleted')
    if (frees) this.#options.freeSpace()
  }

  /** Chunks of these partitions were sealed: older ones may go. */
  sealed(partitions: readonly PartitionState[]): void {
    if (this.#stopped) return
    this.#retention.look(partitions, this.#options.time()).catch((error: unknown) => {
      if (!this.#isStopped()) this.#options.warn('deleting chunks failed; it is tried again', error)
    })
  }

  /** There are more producer names than are kept. */
  expireProducers(): void {
    this.#producers.run(this.#options.time()).catch((error: unknown) => {
      if (!this.#isStopped()) this.#options.warn('forgetting producers failed; it is tried again', error)
    })
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /** A method, because it changes during an await, which the compiler does not see. */
  #isStopped(): boolean {
    return this.#stopped
  }
}
