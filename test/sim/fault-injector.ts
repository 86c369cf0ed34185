import type { SeededRandom } from '../support/seeded-random.js'
import type { InjectedFailure } from '../support/simulated-disk.js'
import { placesToRot } from './bit-rot.js'
import type { BrokerProcess, CrashKind } from './broker-process.js'
import type { ClientProcess } from './client-process.js'
import { type FaultName, type PlannedFault, planFaults } from './faults.js'
import type { SimulatedNetwork } from './network.js'
import type { Plan } from './plan.js'
import type { Owner, Scheduler } from './scheduler.js'
import type { SimulatedFailpoints } from './simulated-failpoints.js'

/** What fails on a disk that begins to go, and how. */
const DISK_ERRORS: Record<'readError' | 'writeError' | 'syncError', readonly InjectedFailure[]> = {
  readError: [
    { operation: 'read', code: 'EIO' },
    { operation: 'read', path: /\/chunks\//, code: 'EIO' },
    { operation: 'open', code: 'EMFILE' },
    { operation: 'readFile', code: 'EIO' },
    { operation: 'list', code: 'EIO' },
    { operation: 'freeBytes', code: 'EIO' },
  ],
  writeError: [
    { operation: 'write', code: 'EIO' },
    { operation: 'write', path: /\/chunks\//, code: 'EIO' },
    { operation: 'write', code: 'ENOSPC' },
    { operation: 'rename', code: 'EIO' },
    { operation: 'remove', code: 'EIO' },
    { operation: 'truncate', code: 'EIO' },
  ],
  syncError: [
    { operation: 'sync', code: 'EIO' },
    { operation: 'syncDirectory', code: 'EIO' },
  ],
}

const DISK_FAULTS: readonly FaultName[] = [
  'readError',
  'writeError',
  'syncError',
  'manifestError',
  'rot',
  'fullDisk',
]

const HOUR_MS = 3_600_000
/** How wrong the broker's clock may be: ahead by less than the days for which ids of producers and records are kept. */
const CLOCK_OFFSETS_MS = [-HOUR_MS, -5_000, -100, 0, 100, 5_000, 5 * 60_000, HOUR_MS, 30 * HOUR_MS]

export interface FaultInjectorOptions {
  readonly scheduler: Scheduler
  readonly random: SeededRandom
  readonly plan: Plan
  readonly broker: BrokerProcess
  readonly network: SimulatedNetwork
  readonly processes: readonly ClientProcess[]
  readonly failpoints: SimulatedFailpoints
  /** How long it goes on. */
  readonly steps: number
}

/** Breaks the world as it is planned, at steps that the seed decides, and starts the broker again whenever it is down. */
export class FaultInjector {
  readonly counts: Record<string, number> = {}
  readonly #options: FaultInjectorOptions
  #planned: PlannedFault[]
  #diskFactor = 1
  #clockOffsetMs = 0
  #isDiskFull = false
  #isRotten = false
  /** The power fails during the next write to the WAL. */
  #isAiming = false
  #isOver = false
  readonly #stalled: Owner[] = []
  readonly #silenced: number[] = []

  constructor(options: FaultInjectorOptions) {
    this.#options = options
    this.#planned = planFaults(options.plan.faults, options.steps, options.random)
  }

  /** By how much the broker's wall clock is wrong. */
  get clockOffsetMs(): number {
    return this.#clockOffsetMs
  }

  /** Whether the disk failed, or lied, so far. */
  get hasBrokenDisk(): boolean {
    return DISK_FAULTS.some((name) => (this.counts[name] ?? 0) > 0)
  }

  /** How long the next operation of the disk takes. */
  diskMs(): number {
    const { random, plan } = this.#options
    const { msMin, msMax } = plan.disk
    return (msMin + random.fraction() * (msMax - msMin)) * this.#diskFactor
  }

  beforeStep(): void {
    const { steps } = this.#options.scheduler
    while ((this.#planned[0]?.atStep ?? Number.POSITIVE_INFINITY) <= steps) {
      const { name } = this.#planned.shift() as PlannedFault
      if (!this.#strike(name)) continue
      this.counts[name] = (this.counts[name] ?? 0) + 1
    }
  }

  /** The broker asks something of its disk, and has no answer yet. */
  diskBegins(operation: string, path: string): void {
    if (!this.#isAiming || operation !== 'write' || !path.endsWith('.wal')) return
    this.#isAiming = false
    const { scheduler } = this.#options
    scheduler.after(0, () => void this.#crash('powerCut'), { kind: 'aimed', owner: scheduler.world })
  }

  /** The broker is down: it comes back some time later. */
  brokerEnded(): void {
    const { scheduler, random, broker } = this.#options
    broker.isExcused = this.#isDiskFull || this.#isRotten
    const ms = this.#isOver ? 1 : random.pick([0, 1, 10, 100, 2_000])
    scheduler.after(ms, () => broker.start(), { kind: 'restart', owner: scheduler.world })
  }

  /** No more faults, and those that last are over. */
  heal(): void {
    const { broker, network, failpoints } = this.#options
    this.#isOver = true
    this.#isAiming = false
    this.#planned = []
    failpoints.disarm()
    this.#diskFactor = 1
    this.#freeDisk()
    this.#mendDisk()
    for (const owner of this.#stalled) owner.stalledUntilMs = 0
    for (const id of this.#silenced) network.cut(id)
    broker.start()
  }

  /** Whether there was anything to strike. */
  #strike(name: FaultName): boolean {
    const { broker, network, random, scheduler } = this.#options
    switch (name) {
      case 'powerCut':
        // Most writes are over soon: a cut at any moment would seldom tear one.
        this.#isAiming = random.chance(0.6)
        return this.#isAiming || this.#crash('powerCut')
      case 'kill':
        return this.#crash('kill')
      case 'failpoint': {
        const how = random.pick(['powerCut', 'kill'] as const)
        this.#options.failpoints.arm((at) => broker.crash(how, at))
        return true
      }
      case 'stop':
        if (!broker.isServing) return false
        broker.stop()
        return true
      case 'cut':
      case 'silence': {
        if (network.connections.length === 0) return false
        const id = random.pick(network.connections)
        if (name === 'cut') network.cut(id)
        else {
          network.silence(id)
          this.#silenced.push(id)
        }
        return true
      }
      case 'slowDisk':
        this.#diskFactor = random.pick([10, 100])
        this.#later(random.pick([20, 200, 2_000]), () => {
          this.#diskFactor = 1
        })
        return true
      case 'readError':
      case 'writeError':
      case 'syncError':
        broker.disk.failNext({ ...random.pick(DISK_ERRORS[name]), skip: random.below(4) })
        broker.isExcused = true
        return true
      case 'manifestError':
        broker.store.failNextCommit(new Error('EIO: the manifest cannot be written'))
        broker.isExcused = true
        return true
      case 'rot': {
        const places = placesToRot(broker.disk.files(), random)
        if (places.length === 0) return false
        for (const { path, offset } of places) broker.disk.rot(path, offset, random.below(8))
        scheduler.note('rot', places.map(({ path, offset }) => `${path} ${offset}`).join(' '))
        broker.isExcused = true
        this.#isRotten = true
        this.#later(random.pick([20, 500, 3_000]), () => this.#mendDisk())
        return true
      }
      case 'fullDisk':
        broker.disk.limitFree(random.pick([0, 8, 100, 300]) * 1_024)
        broker.isExcused = true
        this.#isDiskFull = true
        this.#later(random.pick([20, 500, 3_000]), () => this.#freeDisk())
        return true
      case 'clockJump':
        this.#clockOffsetMs = random.pick(CLOCK_OFFSETS_MS)
        return true
      case 'stall':
        return this.#stall()
      case 'clientDeath': {
        const alive = this.#options.processes.filter(({ isMortal, owner }) => isMortal && !owner.isDead)
        if (alive.length === 0) return false
        random.pick(alive).kill()
        return true
      }
    }
  }

  #crash(how: CrashKind): boolean {
    const { broker } = this.#options
    if (!broker.isRunning) return false
    broker.crash(how)
    return true
  }

  #stall(): boolean {
    const { broker, processes, random, scheduler } = this.#options
    const owners = processes.map(({ owner }) => owner).filter(({ isDead }) => !isDead)
    if (broker.owner !== undefined) owners.push(broker.owner)
    if (owners.length === 0) return false
    const owner = random.pick(owners)
    owner.stalledUntilMs = scheduler.nowMs + random.pick([10, 300, 4_000])
    scheduler.note('stall', owner.name)
    this.#stalled.push(owner)
    return true
  }

  #freeDisk(): void {
    this.#isDiskFull = false
    this.#options.broker.disk.limitFree(undefined)
  }

  #mendDisk(): void {
    this.#isRotten = false
    this.#options.broker.disk.mend()
  }

  #later(ms: number, fn: () => void): void {
    const { scheduler } = this.#options
    scheduler.after(ms, fn, { kind: 'relief', owner: scheduler.world })
  }
}
