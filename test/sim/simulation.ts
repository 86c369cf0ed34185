// First of all: what is imported below takes gunzip from node:zlib.
import './deterministic-zlib.js'
import type { PlantedFault } from '../../broker/platform/planted-faults.js'
import { checkHistory } from '../checker/check.js'
import type { HistoryEvent, Violation } from '../checker/history.js'
import { HistoryRecorder } from '../checker/recorder.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { BrokerProcess } from './broker-process.js'
import { ClientProcess } from './client-process.js'
import { scheduleZlibOn } from './deterministic-zlib.js'
import { FaultInjector } from './fault-injector.js'
import { HttpLink } from './http-link.js'
import type { Lab } from './lab.js'
import { SimulatedNetwork } from './network.js'
import { drawPlan, type Plan } from './plan.js'
import { Scheduler } from './scheduler.js'
import { SimulatedFailpoints } from './simulated-failpoints.js'
import { Trace, type TraceLine } from './trace.js'
import { EPOCH_MS, installVirtualGlobals } from './virtual-globals.js'
import { readEverything } from './workload/read-everything.js'
import { Workload } from './workload/workload.js'

export interface SimulationOptions {
  readonly seed: number
  /** Events after which no more faults and no new work come. */
  readonly steps: number
  /** A mistake that the broker makes, for the checker to find. */
  readonly planted?: PlantedFault | undefined
  readonly onTrace?: ((line: TraceLine) => void) | undefined
}

export interface SimulationReport {
  readonly seed: number
  readonly steps: number
  /** Equal for equal runs. */
  readonly traceHash: string
  readonly simulatedMs: number
  readonly plan: Plan
  /** What happened to the broker, how often. */
  readonly ends: BrokerProcess['ends']
  readonly tornTails: number
  readonly faults: Readonly<Record<string, number>>
  /** How often the broker passed each failpoint. */
  readonly failpointHits: Readonly<Record<string, number>>
  readonly history: readonly HistoryEvent[]
  /** Promises that were broken. */
  readonly violations: readonly Violation[]
  /** What went wrong otherwise: an error that nobody may get, a broker that gave up, a run that does not come to rest. */
  readonly failure: Error | undefined
}

const NEVER = new Set(['INTERNAL', 'BAD_FRAME', 'BAD_REQUEST', 'BAD_BATCH', 'BAD_CRC', 'BAD_COMPRESSION'])
const OF_DISKS = new Set(['CORRUPT_DATA', 'STORAGE_FAILED'])

/** How long it may take until all is still once the world is sound, simulated. */
const REST_MS_MAX = 600_000

/** Runs the whole of Millrace, broker and clients, in a world that one seed decides. One at a time in a process. */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  return await new Simulation(options).run()
}

/** Somebody waits for what never comes. */
class Unrest extends Error {
  override readonly name = 'Unrest'
}

class Simulation {
  readonly #options: SimulationOptions
  readonly #random: SeededRandom
  readonly #plan: Plan
  readonly #scheduler: Scheduler
  readonly #network: SimulatedNetwork
  readonly #history: HistoryRecorder
  readonly #broker: BrokerProcess
  readonly #faults: FaultInjector
  readonly #failpoints: SimulatedFailpoints
  readonly #processes: ClientProcess[] = []
  #isEnding = false
  #unrest: Unrest | undefined
  #operation = ''

  constructor(options: SimulationOptions) {
    this.#options = options
    this.#random = new SeededRandom(options.seed)
    this.#plan = drawPlan(this.#random.fork(), new SeededRandom(~options.seed))
    this.#scheduler = new Scheduler(new Trace(options.onTrace), () => this.#faults.beforeStep())
    this.#history = new HistoryRecorder()
    const { network, splitOdds, broker } = this.#plan
    this.#network = new SimulatedNetwork({
      scheduler: this.#scheduler,
      random: this.#random.fork(),
      weather: { latencyMsMin: network.msMin, latencyMsMax: network.msMax, splitOdds },
    })
    this.#failpoints = new SimulatedFailpoints({
      scheduler: this.#scheduler,
      random: this.#random.fork(),
      holdOdds: this.#plan.holdOdds,
      planted: options.planted,
    })
    this.#broker = new BrokerProcess({
      scheduler: this.#scheduler,
      random: this.#random.fork(),
      network: this.#network,
      history: this.#history,
      disk: this.#newDisk(),
      store: new SimulatedStore({ seed: this.#random.uint32(), commitTurns: 3 }),
      config: broker,
      failpoints: this.#failpoints,
      wallMs: () => Math.floor(EPOCH_MS + this.#scheduler.nowMs + this.#faults.clockOffsetMs),
      onEnd: () => this.#faults.brokerEnded(),
    })
    this.#faults = new FaultInjector({
      scheduler: this.#scheduler,
      random: this.#random.fork(),
      plan: this.#plan,
      steps: options.steps,
      broker: this.#broker,
      network: this.#network,
      processes: this.#processes,
      failpoints: this.#failpoints,
    })
  }

  async run(): Promise<SimulationReport> {
    const undo = [
      installVirtualGlobals(this.#scheduler, this.#random.fork()),
      takeUnhandled((error) => this.#unhandled(error)),
    ]
    scheduleZlibOn((fn) => void this.#scheduler.after(0.05, fn, { kind: 'zlib' }))
    let failure: Error | undefined
    try {
      await this.#live()
      failure = this.#unrest
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
    } finally {
      scheduleZlibOn(undefined)
      for (const step of undo) step()
      this.#network.letGo()
    }
    const violations = checkHistory(this.#history.events)
    return {
      seed: this.#options.seed,
      steps: this.#scheduler.steps,
      traceHash: this.#scheduler.trace.hash,
      simulatedMs: this.#scheduler.nowMs,
      plan: this.#plan,
      ends: this.#broker.ends,
      tornTails: this.#broker.tornTails,
      faults: this.#faults.counts,
      failpointHits: this.#failpoints.hits,
      history: this.#history.events,
      violations,
      failure,
    }
  }

  async #live(): Promise<void> {
    const { steps } = this.#options
    this.#broker.start()
    const workload = new Workload(this.#lab())
    await this.#scheduler.run(() => this.#scheduler.steps >= steps)
    this.#faults.heal()
    this.#isEnding = true
    try {
      await this.#rest('the workload', workload.end())
    } catch (error) {
      if (!(error instanceof Unrest)) throw error
      // What the log holds may say why.
      this.#unrest = error
    }
    // What a power cut leaves is all that counts.
    this.#broker.crash('powerCut')
    try {
      await this.#rest('the last start', this.#untilServing())
    } catch (error) {
      if (error instanceof Unrest) this.#history.record({ type: 'brokerStuck' })
      throw error
    }
    await this.#rest('the last reading', readEverything(this.#lab(), workload))
  }

  /** Runs on until `work` is done, which must not take for ever now that nothing is in the way. */
  async #rest(name: string, work: Promise<void>): Promise<void> {
    let isDone = false
    void work.then(
      () => {
        isDone = true
      },
      (error) => this.#scheduler.fail(error),
    )
    const untilMs = this.#scheduler.nowMs + REST_MS_MAX
    await this.#scheduler.run(() => isDone || this.#scheduler.nowMs > untilMs)
    if (!isDone) throw new Unrest(`${name} did not come to an end`)
  }

  async #untilServing(): Promise<void> {
    while (!this.#broker.isServing) await this.#scheduler.sleep(10)
  }

  #lab(): Lab {
    const simulation = this
    return {
      scheduler: this.#scheduler,
      random: this.#random.fork(),
      plan: this.#plan,
      history: this.#history,
      isOpenlyBroken: this.#plan.faults.silence + this.#plan.faults.stall === 0,
      get isEnding() {
        return simulation.#isEnding
      },
      serveHttp: () => {
        this.#network.serveHttp()
        return ({ owner, name }) => {
          const onComplaint = (code: string): void => this.#judge(code, name)
          return new HttpLink({ network: this.#network, scheduler: this.#scheduler, owner, onComplaint })
        }
      },
      newProcess: (name, { isMortal = false } = {}) => this.#newProcess(name, isMortal),
    }
  }

  #newProcess(name: string, isMortal: boolean): ClientProcess {
    const process = new ClientProcess({
      name,
      scheduler: this.#scheduler,
      network: this.#network,
      random: this.#random.fork(),
      isMortal,
      history: this.#history,
      onComplaint: (code) => this.#judge(code, name),
    })
    this.#processes.push(process)
    return process
  }

  /** What nobody may be told, whatever happens to the world; and what only a broken disk explains. */
  #judge(code: string, name: string): void {
    const isExplained = this.#faults.hasBrokenDisk
    if (code === 'CORRUPT_DATA')
      this.#history.record({ type: 'damageFound', by: name, message: code, isExplained })
    if (!NEVER.has(code) && (!OF_DISKS.has(code) || isExplained)) return
    this.#scheduler.fail(new Error(`${name} was told ${code} with nothing wrong`))
  }

  #newDisk(): SimulatedDisk {
    const clock = {
      now: () => 0,
      monotonic: () => 0,
      setTimer: (fn: () => void) => {
        this.#scheduler.after(this.#faults.diskMs(), fn, { kind: 'disk', detail: this.#operation })
        return { cancel() {} }
      },
    }
    return new SimulatedDisk({
      seed: this.#random.uint32(),
      latency: { clock, msMin: 0, msMax: 0 },
      onOperation: ({ phase, operation, path }) => {
        if (phase !== 'begin') return
        this.#operation = `${operation} ${path}`
        this.#faults.diskBegins(operation, path)
      },
    })
  }

  /** A rejection that nobody handles ends a real process. */
  #unhandled(error: unknown): void {
    if (this.#scheduler.owner.isDead) return
    const { name } = this.#scheduler.owner
    this.#scheduler.fail(new Error(`unhandled in ${name}: ${String(error)}`, { cause: error }))
  }
}

/** Takes the place of whoever listens for what nobody handles; returns how to undo it. */
function takeUnhandled(onError: (error: unknown) => void): () => void {
  const undo = (['unhandledRejection', 'uncaughtException'] as const).map((event) => {
    const before = process.listeners(event as 'uncaughtException')
    process.removeAllListeners(event)
    process.on(event as 'uncaughtException', onError)
    return () => {
      process.removeAllListeners(event)
      for (const listener of before) process.on(event as 'uncaughtException', listener)
    }
  })
  return () => {
    for (const step of undo) step()
  }
}
