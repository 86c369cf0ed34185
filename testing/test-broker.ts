import { setTimeout as sleep } from 'node:timers/promises'
import type { BrokerConfig } from '../broker/config/schema.js'
import type { Client } from '../client/client.js'
import { connect } from '../client/connect.js'
import type { ConnectOptions } from '../client/options.js'
import { BrokerLife } from './broker-life.js'
import { CrashMoment } from './crash-moment.js'
import { ManualClock } from './manual-clock.js'
import {
  type BrokerErrorCode,
  type FailOptions,
  framesOfWrite,
  type RequestFault,
  RequestFaults,
  type RequestName,
  type WriteName,
} from './request-faults.js'
import { makeTemporaryDirectory, removeTemporaryDirectory } from './temporary-directory.js'
import { TestBrokerError, type TestBrokerErrorCode } from './test-broker-error.js'

export interface TestBrokerOptions {
  /** Its time, and that of its clients; default a clock of its own, made now. */
  readonly clock?: ManualClock
  /** What a broker can be told, but for where it is; see docs/CONFIGURATION.md. */
  readonly settings?: Partial<Omit<BrokerConfig, 'dataDir' | 'host' | 'port'>>
}

const MIB = 1024 * 1024

/** What differs from a broker in production: it starts sooner, says nothing and takes little disk. */
const SETTINGS: NonNullable<TestBrokerOptions['settings']> = {
  walSegmentBytes: 6 * MIB,
  spareWalSegments: 1,
  walBytesMax: 256 * MIB,
  diskFreeBytesMin: 0,
  logLevel: 'silent',
}

/** A client that lost its broker looks for it again sooner: in a test it is soon back. */
const CLIENT_OPTIONS: ConnectOptions = { backoffBaseMs: 5, backoffCapMs: 1_000 }

/** How long the clients may take to say goodbye. */
const GOODBYE_MS = 250

/** Together some seconds. */
const PORT_ATTEMPTS_MAX = 40
const PORT_PAUSE_MS = 50

type State = 'running' | 'crashed' | 'closed'

const REFUSALS = {
  closed: ['CLOSED', 'the test broker is closed'],
  crashed: ['CRASHED', 'the test broker has crashed: call restart() first'],
  running: ['RUNNING', 'the test broker runs: call crash() before restart()'],
} as const satisfies Record<State, readonly [TestBrokerErrorCode, string]>

/**
 * Starts a real broker in this process, for the tests of your own code: on a free port of 127.0.0.1, with a data directory of
 * its own that goes with it.
 *
 *     await using broker = await testBroker()
 *     const client = broker.client()
 *
 * Throws a ConfigError for settings that cannot be.
 */
export async function testBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  return await TestBroker.start(options)
}

/** A broker that a test may crash, hurry and make refuse. Made by `testBroker`. */
export class TestBroker implements AsyncDisposable {
  /** Of the broker and of its clients. */
  readonly clock: ManualClock
  /** Where its files are, for example for `millrace verify` after a crash. */
  readonly dataDir: string
  readonly #settings: TestBrokerOptions['settings']
  readonly #faults = new RequestFaults()
  readonly #moment = new CrashMoment(() => this.#die())
  /** Whoever waits for a crash at a moment. */
  #witnesses: (() => void)[] = []
  readonly #clients = new Set<Client>()
  #life: BrokerLife | undefined
  #url = ''
  #state: State = 'crashed'
  /** One change of state after the other. */
  #changing: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  private constructor(options: TestBrokerOptions, dataDir: string) {
    this.clock = options.clock ?? new ManualClock()
    this.#settings = options.settings
    this.dataDir = dataDir
  }

  /** @internal */
  static async start(options: TestBrokerOptions): Promise<TestBroker> {
    const dataDir = await makeTemporaryDirectory()
    const broker = new TestBroker(options, dataDir)
    try {
      await broker.#start({ port: 0 })
      return broker
    } catch (error) {
      await removeTemporaryDirectory(dataDir)
      throw error
    }
  }

  /** Where clients connect, for example `ws://127.0.0.1:34567`. It outlasts crashes. */
  get url(): string {
    return this.#url
  }

  /**
   * A client on the clock of this broker, closed with it. It looks for a broker that is gone after 5 ms, then ever less often
   * down to once a second, unless the options say otherwise. A client that your code makes by `connect(broker.url)` has the
   * machine's clock: while you move the time it is as one that hangs. Throws TestBrokerError CLOSED.
   */
  client(options: ConnectOptions = {}): Client {
    this.#assertNot('closed')
    // Only the internal overload of `connect` takes a clock.
    const client = connect(this.#url, { ...CLIENT_OPTIONS, ...options }, { clock: this.clock })
    this.#clients.add(client)
    return client
  }

  /**
   * Ends the broker as SIGKILL does: at once, in whatever it is doing. What it acknowledged is on disk; what it had not yet
   * written never will be; the connections break without a word. Clients look for it until `restart`. Resolves when the
   * directory and the port are free. Throws TestBrokerError CRASHED when that has happened already, and CLOSED.
   */
  crash(): Promise<void> {
    return this.#change(async () => {
      this.#assertNot('closed')
      this.#assertNot('crashed')
      this.#die()
      await this.#life?.end()
    })
  }

  /**
   * Lets the broker crash as soon as the next request of this name is on disk, before anybody is told: the answer is lost, and the
   * client cannot know what became of its write. Resolves after the crash, this one or another; returns at once, so
   *
   *     const crashed = broker.crashAfter('produce')
   *     const placing = service.place(order)
   *     await crashed
   *     await broker.restart()
   *     await placing
   *
   * One moment at a time: a second call takes the place of the first, whose promise then waits for the second's. Throws
   * TestBrokerError CLOSED and CRASHED, and MillraceError ILLEGAL_ARGUMENT for a request that writes nothing.
   */
  crashAfter(request: WriteName): Promise<void> {
    this.#assertNot('closed')
    this.#assertNot('crashed')
    this.#moment.await(framesOfWrite(request))
    return new Promise((resolve) => this.#witnesses.push(resolve))
  }

  /**
   * Starts the broker again over what the crash left, at the same address. Throws TestBrokerError RUNNING when it has not
   * crashed, CLOSED, and what a start throws: MillraceError CORRUPT_DATA when a test has damaged its files.
   */
  restart(): Promise<void> {
    return this.#change(async () => {
      this.#assertNot('closed')
      this.#assertNot('running')
      // A crash at a moment may not be over.
      await this.#life?.end()
      await this.#startAgain()
    })
  }

  /**
   * Moves the time of the broker and its clients on by `ms`, as `clock.advance` does: leases, sessions, dedup windows and
   * retention run out in the order of their times. Time passes for a crashed broker too. Throws TestBrokerError CLOSED, and a
   * RangeError for what is no length of time.
   */
  async advance(ms: number): Promise<void> {
    this.#assertNot('closed')
    await this.clock.advance(ms)
  }

  /**
   * Makes the broker refuse the next request of this name, whoever sends it, with this error and nothing done. A client tries again
   * by itself where the error is retriable: to see such a refusal, look at `hits`, or let all fail with `times: Infinity`.
   * What is armed outlasts crashes. Throws TestBrokerError CLOSED, and MillraceError ILLEGAL_ARGUMENT for a name or a code that there
   * is not.
   */
  failNext(request: RequestName, code: BrokerErrorCode, options: FailOptions = {}): RequestFault {
    this.#assertNot('closed')
    return this.#faults.add(request, code, options)
  }

  /** Closes its clients, ends it and removes its files. Idempotent; `await using` does it at the end of the block. */
  close(): Promise<void> {
    this.#closing ??= this.#change(() => this.#close())
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #start({ port }: { port: number }): Promise<void> {
    const { life, broker } = await BrokerLife.start(
      { ...SETTINGS, ...this.#settings, dataDir: this.dataDir, host: '127.0.0.1', port },
      { clock: this.clock, refuse: this.#faults.next, moment: this.#moment },
    )
    this.#life = life
    this.#url = broker.url
    this.#state = 'running'
  }

  /** The port was free for a while: another process may have it for a moment, as the near end of a connection. */
  async #startAgain(): Promise<void> {
    const port = Number(new URL(this.#url).port)
    for (let attempts = 1; ; attempts++) {
      try {
        return await this.#start({ port })
      } catch (error) {
        const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
        if (!isTaken || attempts === PORT_ATTEMPTS_MAX) throw error
        await sleep(PORT_PAUSE_MS)
      }
    }
  }

  async #close(): Promise<void> {
    const drainMs = this.#state === 'running' ? GOODBYE_MS : 0
    this.#state = 'closed'
    this.#moment.forget()
    // What a client did not get rid of goes with the directory: no reason to fail a test at its end.
    await Promise.allSettled([...this.#clients].map((client) => client.close({ drainMs })))
    await this.#life?.end()
    for (const witness of this.#witnesses.splice(0)) witness()
    await removeTemporaryDirectory(this.dataDir)
  }

  /** From here on the broker does nothing; what the kernel has to do for it is done when `end` of its life resolves. */
  #die(): void {
    this.#state = 'crashed'
    this.#moment.forget()
    const witnesses = this.#witnesses.splice(0)
    void this.#life?.end().then(() => {
      for (const witness of witnesses) witness()
    })
  }

  #change(run: () => Promise<void>): Promise<void> {
    const changed = this.#changing.then(run)
    this.#changing = changed.catch(() => {})
    return changed
  }

  #assertNot(state: State): void {
    if (this.#state !== state) return
    const [code, message] = REFUSALS[state]
    throw new TestBrokerError(code, message)
  }
}
