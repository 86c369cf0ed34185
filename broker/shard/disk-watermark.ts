import { MillraceError } from '../../protocol/error-codes.js'
import type { Disk } from '../platform/disk.js'
import type { Metrics } from '../platform/metrics.js'

export interface DiskWatermarkOptions {
  readonly disk: Disk
  readonly directory: string
  readonly freeBytesMin: number
  readonly metrics: Metrics
  readonly warn: (message: string) => void
}

const RETRY_AFTER_MS = 1000

/**
 * Refuses records while the disk is nearly full. What frees space goes on from what is left: sealing, trimming,
 * deleting, and the commands that do them.
 */
export class DiskWatermark {
  readonly #options: DiskWatermarkOptions
  #freeBytes = Number.POSITIVE_INFINITY

  constructor(options: DiskWatermarkOptions) {
    this.#options = options
    options.metrics.gauge('diskFreeBytes', () => this.#freeBytes)
  }

  /** Asks the disk how much is left. */
  async look(): Promise<void> {
    const { disk, directory, freeBytesMin, warn } = this.#options
    const wasFull = this.isFull
    this.#freeBytes = await disk.freeBytes(directory)
    if (this.isFull === wasFull) return
    const state = `the disk has ${this.#freeBytes} bytes left`
    warn(
      this.isFull
        ? `${state}, below ${freeBytesMin}: records are refused`
        : `${state}: records are taken again`,
    )
  }

  /** What frees space is in a hurry. */
  get isFull(): boolean {
    return this.#freeBytes < this.#options.freeBytesMin
  }

  /** Throws DISK_FULL, retriable. */
  refuseIfFull(): void {
    if (this.isFull) throw new MillraceError('DISK_FULL', { retryAfterMs: RETRY_AFTER_MS })
  }
}
