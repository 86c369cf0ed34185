import { type Broker, startBroker } from '../broker/broker.js'
import type { BrokerOptions } from '../broker/config/schema.js'
import type { Listener } from '../broker/listener.js'
import { LmdbStore } from '../broker/manifest/lmdb-store.js'
import type { Store } from '../broker/manifest/store.js'
import type { Clock } from '../broker/platform/clock.js'
import { type DirectoryLock, lockDirectory } from '../broker/platform/directory-lock.js'
import type { Failpoints } from '../broker/platform/failpoints.js'
import { nodeDisk } from '../broker/platform/node-disk.js'
import type { RefuseRequest } from '../broker/session/dispatch.js'
import type { CrashMoment } from './crash-moment.js'
import { MortalClock } from './mortal-clock.js'
import { MortalDisk } from './mortal-disk.js'
import { forever, MortalOperations } from './mortal-operations.js'
import { MortalStore } from './mortal-store.js'

/**
 * A broker from its start to its death. All that it does to the outside world goes through what ends with it: system calls,
 * timers, transactions, connections. The objects of a dead broker may go on for a moment; nothing comes of it.
 */
export class BrokerLife {
  readonly #operations = new MortalOperations()
  readonly #disk = new MortalDisk(nodeDisk, this.#operations)
  readonly #clock: MortalClock
  readonly #moment: CrashMoment
  #ending: Promise<void> | undefined
  #listener: Listener | undefined
  #store: Store | undefined
  #lock: DirectoryLock | undefined

  private constructor(clock: Clock, moment: CrashMoment) {
    this.#clock = new MortalClock(clock)
    this.#moment = moment
  }

  /** Starts a broker. Throws what `startBroker` does, and leaves nothing open then. */
  static async start(
    options: BrokerOptions,
    surroundings: { clock: Clock; refuse: RefuseRequest; moment: CrashMoment },
  ): Promise<{ life: BrokerLife; broker: Broker }> {
    const life = new BrokerLife(surroundings.clock, surroundings.moment)
    try {
      return { life, broker: await life.#start(options, surroundings.refuse) }
    } catch (error) {
      await life.end()
      throw error
    }
  }

  #start(options: BrokerOptions, refuse: RefuseRequest): Promise<Broker> {
    const operations = this.#operations
    const failpoints: Failpoints = {
      hit: (name) => {
        if (!operations.isOver) this.#moment.passed(name)
        return operations.isOver ? forever() : undefined
      },
    }
    return startBroker(options, {
      disk: this.#disk,
      clock: this.#clock,
      failpoints,
      lockDirectory: async (directory) => {
        this.#lock = await lockDirectory(directory)
        return this.#lock
      },
      openStore: async (store) => {
        this.#store = await LmdbStore.open(store)
        return new MortalStore(this.#store, operations)
      },
      listening: (listener) => {
        this.#listener = listener
      },
      refuse: (frame) => {
        const refusal = refuse(frame)
        if (refusal === undefined) this.#moment.requested(frame)
        return refusal
      },
    })
  }

  /**
   * Ends as by SIGKILL: at once, with nothing finished and nothing written. Then does what the kernel does for a dead
   * process: ends its system calls, closes its files, connections and port, frees its lock. Idempotent.
   */
  end(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    this.#operations.end()
    this.#clock.end()
    await this.#listener?.cut()
    await this.#operations.settled()
    await this.#disk.closeFiles()
    await this.#store?.close()
    await this.#lock?.release()
  }
}
