import type { ProducerNameRow, ProducerRow } from '../manifest/rows.js'
import { claim, PRODUCER_IDS } from './claims.js'
import type { Change } from './group-commit.js'
import type { ShardState } from './state.js'

export interface ProducerExpiryOptions {
  readonly state: ShardState
  readonly limits: { readonly producersMax: number; readonly producerIdleMs: number }
  readonly submit: <T>(change: Change<T>) => Promise<T>
}

/** Windows, or names, that one command may expire. */
const EXPIRED_MAX = 10_000
/** Above its cap the state lets go of this share of them, the longest unused first. */
const SHED_SHARE = 0.1
/** Looking through all windows is not for every second. */
const INTERVAL_MS = 60_000

/** Forgets what producers wrote that have long been silent, and the oldest when there are too many. */
export class ProducerExpiry {
  readonly #options: ProducerExpiryOptions
  #lastLookMs = 0
  #running: Promise<void> | undefined

  constructor(options: ProducerExpiryOptions) {
    this.#options = options
  }

  /** `now` is broker time. The decision is logged as a list: replay needs no clock. */
  run(now: number): Promise<void> {
    this.#running ??= this.#run(now).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #run(now: number): Promise<void> {
    const { state, limits } = this.#options
    const isOver = Math.max(state.producerWindows, state.producerNames.size) > limits.producersMax
    if (!isOver && now - this.#lastLookMs < Math.min(INTERVAL_MS, limits.producerIdleMs)) return
    this.#lastLookMs = now
    await this.#expireWindows(now)
    await this.#expireNames(now)
  }

  async #expireWindows(now: number): Promise<void> {
    const { state, limits } = this.#options
    const idleBefore = now - limits.producerIdleMs
    // Sorting them all is only for when there are too many.
    const isOver = state.producerWindows > limits.producersMax
    const expired = this.#expired(windowsBefore(state, isOver ? now + 1 : idleBefore), {
      held: state.producerWindows,
      idleBefore,
    })
    const lastSeenMax = expired.at(-1)?.lastSeen ?? 0
    for (let i = 0; i < expired.length; i += EXPIRED_MAX)
      await this.#expire(expired.slice(i, i + EXPIRED_MAX), lastSeenMax)
  }

  /** The idle ones, and the longest unused on top when more than the cap are held. */
  #expired<T extends { readonly lastSeen: number }>(
    found: T[],
    { held, idleBefore }: { held: number; idleBefore: number },
  ): T[] {
    const { producersMax } = this.#options.limits
    found.sort((a, b) => a.lastSeen - b.lastSeen)
    const idle = found.filter(({ lastSeen }) => lastSeen < idleBefore).length
    const surplus = held > producersMax ? held - producersMax + Math.ceil(producersMax * SHED_SHARE) : 0
    return found.slice(0, Math.max(idle, surplus))
  }

  async #expireNames(now: number): Promise<void> {
    const { state, limits } = this.#options
    if (state.producerNames.size === 0) return
    const idleBefore = now - limits.producerIdleMs
    const seen = lastSeenById(state)
    const names = [...state.producerNames.values()].map((row) => ({ row, lastSeen: lastSeenOf(row, seen) }))
    const expired = this.#expired(names, { held: names.length, idleBefore })
    const lastSeenMax = expired.at(-1)?.lastSeen ?? 0
    for (let i = 0; i < expired.length; i += EXPIRED_MAX)
      await this.#expireSome(
        expired.slice(i, i + EXPIRED_MAX).map(({ row }) => row),
        lastSeenMax,
      )
  }

  /** Leaves out those that registered again, or wrote, since they were chosen. */
  async #expireSome(chosen: readonly ProducerNameRow[], lastSeenMax: number): Promise<void> {
    const { state, submit } = this.#options
    await submit({
      decide: ({ claimed }) => {
        // A registration in the same group is not in the state yet.
        if (!claim(claimed, PRODUCER_IDS)) return undefined
        const seen = lastSeenById(state)
        const names = chosen
          .filter((row) => state.producerNames.get(row.name) === row && lastSeenOf(row, seen) <= lastSeenMax)
          .map(({ name }) => name)
        if (names.length === 0) return { commands: [], result: undefined }
        return { commands: [{ type: 'producerNamesExpired', names }], result: undefined }
      },
    })
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

/** When each named producer wrote last, by its id. */
function lastSeenById(state: ShardState): Map<number, number> {
  const seen = new Map<number, number>()
  for (const topic of state.topics.values()) {
    for (const { producers } of topic.partitions) {
      for (const { producerId, lastSeen } of producers.values()) {
        if (!state.producerNamesById.has(producerId)) continue
        seen.set(producerId, Math.max(seen.get(producerId) ?? 0, lastSeen))
      }
    }
  }
  return seen
}

/** A name is in use from its registration on, and whenever its producer writes. */
const lastSeenOf = (row: ProducerNameRow, seen: ReadonlyMap<number, number>): number =>
  Math.max(row.lastSeen, seen.get(row.producerId) ?? 0)
