import type { ProducerRow } from '../manifest/rows.js'
import type { Change } from './group-commit.js'
import type { ShardState } from './state.js'

export interface ProducerExpiryOptions {
  readonly state: ShardState
  readonly limits: { readonly producersMax: number; readonly producerIdleMs: number }
  readonly submit: <T>(change: Change<T>) => Promise<T>
}

/** Windows that one command may expire. */
const EXPIRED_MAX = 10_000
/** Above its cap the state lets go of this share of the windows, the longest unused first. */
const SHED_SHARE = 0.1
/** Looking through all windows is not for every second. */
const INTERVAL_MS = 60_000

/** Forgets what producers wrote that have long been silent, and the oldest when there are too many. */
export class ProducerExpiry {
  readonly #options: ProducerExpiryOptions
  #lastLookMs = 0

  constructor(options: ProducerExpiryOptions) {
    this.#options = options
  }

  /** `now` is broker time. The decision is logged as a list: replay needs no clock. */
  async run(now: number): Promise<void> {
    const { state, limits } = this.#options
    const isOver = state.producerWindows > limits.producersMax
    if (!isOver && now - this.#lastLookMs < Math.min(INTERVAL_MS, limits.producerIdleMs)) return
    this.#lastLookMs = now
    const idleBefore = now - limits.producerIdleMs
    // Sorting them all is only for when there are too many.
    const windows = isOver ? windowsBefore(state, now + 1) : windowsBefore(state, idleBefore)
    windows.sort((a, b) => a.lastSeen - b.lastSeen)
    const idle = windows.filter(({ lastSeen }) => lastSeen < idleBefore).length
    const shed = Math.ceil(limits.producersMax * SHED_SHARE)
    const surplus = isOver ? state.producerWindows - limits.producersMax + shed : 0
    const expired = windows.slice(0, Math.max(idle, surplus))
    const lastSeenMax = expired.at(-1)?.lastSeen ?? 0
    for (let i = 0; i < expired.length; i += EXPIRED_MAX)
      await this.#expire(expired.slice(i, i + EXPIRED_MAX), lastSeenMax)
  }

  /** Leaves out those that have written since they were chosen. */
  async #expire(chosen: readonly ProducerRow[], lastSeenMax: number): Promise<void> {
    const { state, submit } = this.#options
    await submit({
      decide: () => {
        const windows = chosen.filter((row) => {
          const producers = state.partition(row.topicId, row.partition)?.producers
          return row.lastSeen <= lastSeenMax && producers?.get(row.producerId) === row
        })
        if (windows.length === 0) return { commands: [], result: undefined }
        return { commands: [{ type: 'producersExpired', windows }], result: undefined }
      },
    })
  }
}

function windowsBefore(state: ShardState, lastSeenBefore: number): ProducerRow[] {
  const windows: ProducerRow[] = []
  for (const topic of state.topics.values()) {
    for (const partition of topic.partitions) {
      for (const row of partition.producers.values()) if (row.lastSeen < lastSeenBefore) windows.push(row)
    }
  }
  return windows
}
