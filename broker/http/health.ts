import { MillraceError } from '../../protocol/error-codes.js'

export interface BrokerHealthOptions {
  /** Records are refused because the disk is nearly full. */
  readonly isDiskFull: () => boolean
}

/** Whether the broker can do its work, and why not. */
export class BrokerHealth {
  readonly #isDiskFull: () => boolean
  #phase: 'starting' | 'serving' | 'stopping' = 'starting'
  #failure: Error | undefined

  constructor({ isDiskFull }: BrokerHealthOptions) {
    this.#isDiskFull = isDiskFull
  }

  get isStarting(): boolean {
    return this.#phase === 'starting'
  }

  /** Recovery is over. */
  serving(): void {
    if (this.#phase === 'starting') this.#phase = 'serving'
  }

  stopping(): void {
    this.#phase = 'stopping'
  }

  /** Writing to the WAL failed: nothing is acknowledged any more. */
  failed(error: Error): void {
    this.#failure ??= error
  }

  /** Why the broker is not ready, the gravest reason alone; undefined when it is. */
  get fault(): MillraceError | undefined {
    if (this.#failure !== undefined) return new MillraceError('STORAGE_FAILED', { cause: this.#failure })
    if (this.#phase === 'stopping') return new MillraceError('SHUTTING_DOWN')
    if (this.#phase === 'starting')
      return new MillraceError('NOT_READY', {
        message: 'the broker is starting: it replays its write-ahead log',
        retryAfterMs: STARTING_RETRY_MS,
      })
    if (this.#isDiskFull()) return new MillraceError('DISK_FULL')
    return undefined
  }
}

const STARTING_RETRY_MS = 1_000
