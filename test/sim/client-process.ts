import type { Client } from '../../client/client.js'
import { connect } from '../../client/connect.js'
import { Connection } from '../../client/connection.js'
import { EventListeners } from '../../client/events.js'
import { type Surroundings, settingsOf } from '../../client/options.js'
import { socketUrl } from '../../client/url.js'
import type { HistoryRecorder } from '../checker/recorder.js'
import type { SeededRandom } from '../support/seeded-random.js'
import type { SimulatedNetwork } from './network.js'
import { Owner, type Scheduler } from './scheduler.js'
import { EPOCH_MS } from './virtual-globals.js'
import { WireTap } from './wire-tap.js'

const URL = 'ws://127.0.0.1:4600'
const OPTIONS = {
  backoffBaseMs: 20,
  backoffCapMs: 500,
  connectTimeoutMs: 2_000,
  pingIntervalMs: 1_000,
  pingTimeoutMs: 1_000,
}

/** A program with a client, in a process of its own: it may be stalled, or die. */
export class ClientProcess {
  readonly owner: Owner
  readonly client: Client
  readonly random: SeededRandom
  /** Faults may kill it. */
  readonly isMortal: boolean
  readonly tap: WireTap
  /** Resolves when all that runs in it is over, or it is dead. */
  readonly over: Promise<void>
  readonly #scheduler: Scheduler
  readonly #network: SimulatedNetwork
  readonly #surroundings: Surroundings
  readonly #ending = new AbortController()
  readonly #deathListeners: (() => void)[] = []
  #programs = 0
  #setOver: () => void = () => {}

  constructor(options: {
    name: string
    scheduler: Scheduler
    network: SimulatedNetwork
    random: SeededRandom
    isMortal: boolean
    history: HistoryRecorder
    /** The broker told it that something is wrong. */
    onComplaint: (code: string) => void
  }) {
    const { name, scheduler, network, random } = options
    this.isMortal = options.isMortal
    this.tap = new WireTap(options.history, options.onComplaint)
    this.owner = new Owner(name)
    this.random = random
    this.#scheduler = scheduler
    this.#network = network
    this.over = new Promise((resolve) => {
      this.#setOver = resolve
    })
    this.#surroundings = {
      clock: this.#clock(),
      random: random.fork(),
      openSocket: network.openSocketOf(this.owner, this.tap),
    }
    this.client = connect(URL, { ...OPTIONS, clientName: name }, this.#surroundings)
  }

  /** One more connection, for who speaks the protocol by hand. Whoever opens it closes it. */
  connection(): Connection {
    return new Connection({
      url: socketUrl(URL),
      clientName: this.name,
      token: undefined,
      settings: settingsOf(OPTIONS, this.#surroundings),
      events: new EventListeners(),
    })
  }

  get name(): string {
    return this.owner.name
  }

  /** It was asked to come to its end. */
  get isEnding(): boolean {
    return this.#ending.signal.aborted
  }

  /** Aborts when it is asked to come to its end. */
  get ending(): AbortSignal {
    return this.#ending.signal
  }

  /** Runs a program in this process. What it throws is a finding. */
  run(program: () => Promise<void>): void {
    this.#programs++
    const run = async (): Promise<void> => {
      try {
        await program()
      } catch (error) {
        this.#scheduler.fail(new Error(`${this.name} failed: ${String(error)}`, { cause: error }))
      }
      if (--this.#programs === 0) await this.#close()
    }
    this.#scheduler.after(0, () => void run(), { kind: 'begin', detail: this.name, owner: this.owner })
  }

  /** Asks its programs to come to their end. */
  end(): void {
    const { owner } = this
    this.#scheduler.after(0, () => this.#ending.abort(new Error('the run ends')), { kind: 'end', owner })
  }

  async #close(): Promise<void> {
    await this.client.close().catch(() => {})
    this.#setOver()
  }

  sleep(ms: number): Promise<void> {
    const { owner } = this
    return new Promise((resolve) => void this.#scheduler.after(ms, resolve, { kind: 'sleep', owner }))
  }

  onDeath(listener: () => void): void {
    this.#deathListeners.push(listener)
  }

  /** Dies where it stands; the system closes its connections. */
  kill(): void {
    this.owner.isDead = true
    for (const listener of this.#deathListeners) listener()
    this.#network.cutAllOf(this.owner)
    this.#setOver()
  }

  #clock(): Surroundings['clock'] & object {
    const scheduler = this.#scheduler
    const { owner } = this
    return {
      now: () => Math.floor(EPOCH_MS + scheduler.nowMs),
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
}
