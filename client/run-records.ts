import { MillraceError } from '../protocol/error-codes.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { murmur2 } from '../protocol/murmur2.js'
import { Backoff } from './backoff.js'
import type { Clock } from './clock.js'
import type { RunSettings } from './consumer-options.js'
import type { ConsumerPartition, GivenRecord } from './consumer-partition.js'
import type { ConsumerReader } from './consumer-reader.js'
import { Ending, pause } from './deadline.js'
import { OrderedLanes } from './ordered-lanes.js'
import type { Random } from './random.js'
import type { ReadRecord } from './topic.js'

export interface RunnerOptions {
  readonly reader: ConsumerReader
  readonly settings: RunSettings
  readonly clock: Clock
  readonly random: Random
  /** The application's, for a record as it was read. */
  readonly handle: (record: ReadRecord, given: GivenRecord) => unknown
  /** Moves the record to the dead letters and the cursor past it: everything before it is finished. */
  readonly giveUp: (given: GivenRecord, failure: { tries: number; reason: string }) => Promise<void>
}

/** Records that wait for each that is handled: a slow key must not keep the others from being found. */
const WAITING_PER_HANDLER = 8
const RETRY_BASE_MS = 100
const RETRY_CAP_MS = 10_000

/** Calls a handler for every record of a consumer: so many at once, in the order that was asked for, acknowledging as they end. */
export class RecordRunner {
  readonly #options: RunnerOptions
  readonly #lanes: OrderedLanes<GivenRecord>
  readonly #waitingMax: number
  readonly #givingUp = new Set<Promise<void>>()
  /** Ends the pauses before another try. */
  readonly #ending = new Ending()
  #isAbandoned = false
  #whenRoom: (() => void) | undefined
  #whenDone: (() => void) | undefined

  constructor(options: RunnerOptions) {
    const { concurrency } = options.settings
    this.#options = options
    this.#lanes = new OrderedLanes(concurrency)
    this.#waitingMax = concurrency * WAITING_PER_HANDLER
  }

  /** Resolves when the reader was closed, rejects with what ended it; no handler begins after that. */
  async run(): Promise<void> {
    const { reader } = this.#options
    try {
      for (;;) {
        if (this.#lanes.waiting >= this.#waitingMax) await this.#room()
        const next = reader.next()
        const partition = next instanceof Promise ? await next : next
        if (partition === undefined) return
        const given = partition.take()
        reader.took(partition)
        this.#lanes.add(given, this.#laneOf(given))
        this.#begin()
      }
    } finally {
      this.#lanes.drop(() => true)
      this.#ending.end()
      await this.#grace()
    }
  }

  /** What of this partition has not begun shall not begin. */
  stopped(partition: ConsumerPartition): void {
    this.#lanes.drop((given) => given.partition === partition)
    this.#wakeUp()
  }

  /** The reader has ended. */
  ended(): void {
    this.#ending.end()
    this.#wakeUp()
  }

  /** The consumer is gone: nobody waits for what its handlers do. */
  abandon(): void {
    this.#isAbandoned = true
    this.#whenDone?.()
  }

  #laneOf({ partition, wire }: GivenRecord): unknown {
    const { order } = this.#options.settings
    if (order === 'partition') return partition
    if (order === 'none' || wire.key === null) return undefined
    const key = typeof wire.key === 'string' ? wire.key : murmur2(wire.key)
    return `${partition.topicId}/${partition.partition}/${typeof key}/${key}`
  }

  #begin(): void {
    for (let given = this.#lanes.take(); given !== undefined; given = this.#lanes.take()) {
      void this.#process(given)
    }
  }

  async #process(given: GivenRecord): Promise<void> {
    given.begin()
    const failure = await this.#try(given)
    if (failure === undefined) given.finish()
    else if (given.partition.state !== 'lost') this.#failed(given, failure)
    given.end()
    this.#lanes.done(given)
    if (!this.#options.reader.isEnded) this.#begin()
    this.#wakeUp()
  }

  async #try(given: GivenRecord): Promise<{ error: unknown; tries: number } | undefined> {
    const { settings, handle, clock, random } = this.#options
    const backoff = new Backoff({ random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
    for (let tries = 1; ; tries++) {
      try {
        const record = given.decode()
        await handle(record instanceof Promise ? await record : record, given)
        return undefined
      } catch (error) {
        if (tries > settings.retries) return { error, tries }
        await pause(backoff.nextDelayMs(), clock, { signal: undefined, hurry: this.#ending })
        if (this.#ending.isOver || given.partition.state !== 'reading') return { error, tries }
      }
    }
  }

  #failed(given: GivenRecord, { error, tries }: { error: unknown; tries: number }): void {
    const { reader, settings } = this.#options
    // Who is on the way out fails for that reason, and not for the record's.
    if (settings.onError === 'stop' || reader.isEnded) reader.end(error)
    else if (settings.onError === 'skip') given.finish()
    else {
      const givingUp = this.#giveUp(given, { tries, reason: reasonOf(error) })
      this.#givingUp.add(givingUp)
      void givingUp.then(() => {
        this.#givingUp.delete(givingUp)
        this.#wakeUp()
      })
    }
  }

  async #giveUp(given: GivenRecord, failure: { tries: number; reason: string }): Promise<void> {
    const { reader, giveUp } = this.#options
    try {
      await given.partition.cursor.whenLowest(given.offset)
      if (reader.isEnded) return
      await giveUp(given, failure)
      given.partition.cursor.durableAt(given.next)
      given.finish()
    } catch (error) {
      if (given.partition.state === 'lost') return
      const code = error instanceof MillraceError ? error.code : undefined
      // Somebody else did it, or it is no longer there: there is nothing to give up.
      if (code === 'ALREADY_ACKED' || code === 'OFFSET_OUT_OF_RANGE') given.finish()
      else if (code !== 'FENCED' || given.partition.state === 'reading') reader.end(error)
    }
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenRoom = resolve
    })
  }

  #grace(): Promise<void> {
    if (this.#lanes.running === 0 || this.#isAbandoned) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#options.clock.setTimer(resolve, this.#options.settings.graceMs)
      this.#whenDone = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  #wakeUp(): void {
    if (this.#lanes.waiting < this.#waitingMax || this.#options.reader.isEnded) this.#whenRoom?.()
    if (this.#lanes.running === 0) this.#whenDone?.()
  }
}

function reasonOf(error: unknown): string {
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return reason.slice(0, HARD_LIMITS.reasonCharsMax)
}
