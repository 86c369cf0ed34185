import type { Broker } from '../broker.js'
import { ConfigError } from '../config/config-error.js'
import type { BrokerConfig } from '../config/schema.js'
import type { Logger } from '../log.js'
import { describeFailure } from './failure.js'
import { describeStartFailure, isLoopback } from './start-failure.js'

/**
 * Signals that come so soon after the first are echoes of it: a terminal's Ctrl-C reaches both npm and the broker, and
 * npm passes it on a second time.
 */
const echoMs = 1000
/** What a stop may take beyond its drain before the process is ended regardless; recovery then does the rest. */
const overtimeMs = 1500

/** A broker as the process's one job: signals, failures and exit codes. */
export class Service {
  readonly #config: BrokerConfig
  readonly #log: Logger
  readonly #verbose: boolean
  #stoppingSince: number | undefined
  #signalled: () => void = () => {}
  readonly #signal = new Promise<void>((resolve) => {
    this.#signalled = resolve
  })

  constructor(options: { config: BrokerConfig; log: Logger; verbose: boolean }) {
    this.#config = options.config
    this.#log = options.log
    this.#verbose = options.verbose
  }

  /** Starts the broker, waits for its end and ends the process: 0 after a signal, 1 after a failure. */
  async run(): Promise<never> {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.#onSignal(signal))
    process.on('uncaughtException', (error) => this.#die(error, 'unexpected error'))
    const broker = await this.#start()
    broker.failed.then(
      (error) => this.#die(error, 'storage failed'),
      (error) => this.#die(error, 'storage failed'),
    )
    if (this.#stoppingSince === undefined) {
      const { dataDir } = this.#config
      this.#log.info({ url: broker.url, dataDir }, `ready on ${broker.url}, data in ${dataDir}`)
    }
    await this.#signal
    try {
      await broker.close()
    } catch (error) {
      this.#die(error, 'stopping failed')
    }
    this.#log.info('stopped')
    process.exit(0)
  }

  async #start(): Promise<Broker> {
    const { host } = this.#config
    if (!isLoopback(host)) {
      this.#log.warn(
        { host },
        `listening on ${host}: there is no authentication yet, so whoever reaches it may read and write all`,
      )
    }
    try {
      const { startBroker } = await import('../broker.js')
      return await startBroker({ ...this.#config, log: this.#log })
    } catch (error) {
      const isExpected = (error as { code?: unknown }).code !== undefined || error instanceof ConfigError
      this.#log.fatal(
        isExpected && !this.#verbose ? {} : { err: error },
        describeStartFailure(error, this.#config),
      )
      process.exit(1)
    }
  }

  #onSignal(signal: string): void {
    const now = performance.now()
    if (this.#stoppingSince === undefined) {
      this.#stoppingSince = now
      this.#log.info({ signal }, 'stopping: finishing what is under way; a second signal ends at once')
      setTimeout(() => this.#giveUp('the stop takes too long'), this.#config.drainMs + overtimeMs).unref()
      this.#signalled()
    } else if (now - this.#stoppingSince > echoMs) {
      this.#giveUp(`second ${signal}`)
    }
  }

  #giveUp(reason: string): never {
    this.#log.warn(`${reason}: ending now; the next start recovers what was acknowledged`)
    process.exit(1)
  }

  #die(error: unknown, what: string): never {
    this.#log.fatal({ err: error }, `${what}: ${describeFailure(error)}`)
    process.exit(1)
  }
}
