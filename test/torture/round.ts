import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkHistory } from '../checker/check.js'
import type { HistoryEvent, Violation } from '../checker/history.js'
import { HistoryRecorder } from '../checker/recorder.js'
import type { Lab } from '../sim/lab.js'
import { readEverything } from '../sim/workload/read-everything.js'
import { Workload } from '../sim/workload/workload.js'
import { BrokerProcess } from '../support/broker-process.js'
import { Cli } from '../support/cli.js'
import type { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'
import { expire } from './expiring-program.js'
import type { Killer } from './killer.js'
import { asClientProcess, RealProcess } from './real-process.js'
import { usurp } from './usurper-program.js'

/** Small, so that segments roll, chunks seal, snapshots are taken and the WAL is trimmed between two kills. */
const FLAGS = {
  'frame-bytes-max': '256KiB',
  'record-bytes-max': '32KiB',
  'batch-bytes-max': '64KiB',
  'group-bytes-max': '64KiB',
  'wal-segment-bytes': '512KiB',
  'wal-bytes-max': '8MiB',
  'wal-backlog-bytes': '1MiB',
  'chunk-bytes': '16KiB',
  'chunk-max-age-ms': '2000',
  'snapshot-every-bytes': '512KiB',
  'manifest-flush-ms': '200',
}
const THINK = { msMin: 0, msMax: 12 }
/** Members are given 1 s to be silent: where this process stood still for longer, a lease may be another's before anybody knows. */
const STALL_MS_MAX = 600
/** What is left to do when the kills are over is done long before. */
const END_MS_MAX = 180_000
/** Also where everything is slow. */
const KILLS_MIN = 3

export interface RoundReport {
  readonly events: readonly HistoryEvent[]
  readonly violations: readonly Violation[]
  /** What went wrong beside the history: a program that failed, a broker that did not start or stop, a damaged directory. */
  readonly problems: readonly string[]
  /** All that the broker logged. */
  readonly output: string
  readonly written: number
  readonly duplicates: number
  /** The longest that this process stood still; past 600 ms the times of leases are not judged. */
  readonly stallMsMax: number
}

/** One broker on one empty directory: work and kills for some time, then the rest of the work, the last reading and the check. */
export async function torture(options: {
  readonly dataDir: string
  readonly ms: number
  readonly random: SeededRandom
  readonly killer: Killer
  /** After the kills the work goes on until it says so: brokers that are killed get little done where everything is slow. */
  readonly isEnough?: (events: readonly HistoryEvent[]) => boolean
}): Promise<RoundReport> {
  return await new Round(options).run()
}

class Round {
  readonly #options: Parameters<typeof torture>[0]
  readonly #history = new HistoryRecorder({ nowMs: () => Date.now() })
  readonly #env: Record<string, string> = {}
  readonly #broker: BrokerProcess
  readonly #problems: string[] = []
  readonly #failed: Promise<void>
  readonly #processes: RealProcess[] = []
  #killing: Promise<void> = Promise.resolve()
  #fail: () => void = () => {}
  #isEnding = false

  constructor(options: Parameters<typeof torture>[0]) {
    this.#options = options
    this.#broker = new BrokerProcess({ dataDir: options.dataDir, flags: FLAGS, env: this.#env })
    this.#failed = new Promise((resolve) => {
      this.#fail = resolve
    })
  }

  async run(): Promise<RoundReport> {
    const delay = monitorEventLoopDelay({ resolution: 10 })
    delay.enable()
    // Whoever ends this process leaves no broker behind.
    const onExit = (): void => void this.#broker.kill()
    process.once('exit', onExit)
    try {
      await this.#broker.start()
      await Promise.race([this.#work(), this.#failed])
    } catch (error) {
      this.#problem(error)
    } finally {
      delay.disable()
      // It may be about to start the broker once more.
      await this.#killing.catch(() => {})
      await this.#stop()
      for (const { client } of this.#processes) void client.close({ drainMs: 0 }).catch(() => {})
      process.removeListener('exit', onExit)
    }
    const stallMsMax = Math.round(delay.max / 1e6)
    const { events } = this.#history
    const judged = stallMsMax > STALL_MS_MAX ? events.map(withoutTimes) : events
    const places = events.flatMap((event) => (event.type === 'written' ? event.places : []))
    const duplicates = places.filter(({ duplicate }) => duplicate).length
    return {
      events,
      violations: checkHistory(judged),
      problems: this.#problems,
      output: this.#broker.output,
      written: places.length - duplicates,
      duplicates,
      stallMsMax,
    }
  }

  async #work(): Promise<void> {
    const { ms, killer, isEnough = () => true } = this.#options
    const lab = this.#lab()
    const workload = new Workload(lab, { parts: Number.POSITIVE_INFINITY })
    const others = [usurp(lab), expire(lab)]
    const untilMs = performance.now() + ms
    const killsMin = killer.total + KILLS_MIN
    this.#killing = killer.run({
      broker: this.#broker,
      env: this.#env,
      history: this.#history,
      isOver: () => this.#problems.length > 0 || (performance.now() >= untilMs && killer.total >= killsMin),
    })
    await this.#killing
    const isDone = (): boolean => this.#problems.length > 0 || isEnough(this.#history.events)
    await until(isDone, { timeoutMs: END_MS_MAX, everyMs: 100 })
    this.#isEnding = true
    const processes = others.flatMap((other) => other.processes)
    for (const process of processes) process.end()
    const ended = Promise.all(processes.map(({ over }) => over)).then(() => workload.end())
    const isLate = await Promise.race([ended.then(() => false), sleep(END_MS_MAX, true, { ref: false })])
    if (isLate) throw new Error(`the work was not done ${END_MS_MAX / 1000} s after the last kill`)
    await readEverything(lab, {
      topics: [...workload.topics, ...others.map(({ topic }) => topic)],
      shelf: workload.shelf,
    })
  }

  /** Stops it in good order, and looks at what it leaves. */
  async #stop(): Promise<void> {
    const isBroken = this.#problems.length > 0
    const code = await this.#broker.stop()
    if (isBroken) return
    if (code !== 0) this.#problem(new Error(`the broker stopped with exit code ${code}`))
    const { code: verified, stdout, stderr } = await new Cli(['verify', this.#options.dataDir]).finished
    if (verified !== 0) this.#problem(new Error(`millrace verify: ${stdout}${stderr}`))
  }

  #lab(): Lab {
    const { random } = this.#options
    const history = this.#history
    const isEnding = (): boolean => this.#isEnding
    const lab: Omit<Lab, 'scheduler' | 'plan'> & { readonly plan: Pick<Lab['plan'], 'think'> } = {
      random,
      history,
      plan: { think: THINK },
      // The system closes the connections of a process that is killed.
      isOpenlyBroken: true,
      get isEnding() {
        return isEnding()
      },
      newProcess: (name) => {
        const process = new RealProcess({
          name,
          url: this.#broker.url,
          random: random.fork(),
          history,
          onFailed: (error) => this.#problem(error),
        })
        this.#processes.push(process)
        return asClientProcess(process)
      },
    }
    // Programs use no more of it.
    return lab as Lab
  }

  #problem(error: unknown): void {
    this.#problems.push(error instanceof Error ? describe(error) : String(error))
    this.#fail()
  }
}

function describe(error: Error): string {
  const cause = error.cause instanceof Error ? `\n${error.cause.stack ?? ''}` : ''
  return `${error.message}${cause}`
}

const withoutTimes = (event: HistoryEvent): HistoryEvent =>
  event.type === 'leased' ? { ...event, untilMs: undefined } : event
