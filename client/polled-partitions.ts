import type { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { fetch, fetched, listOffsets, OFFSET_AT, offsetsListed } from '../protocol/messages/fetch.js'
import type { Clock, Timer } from './clock.js'
import type { Link } from './link.js'
import { askLink } from './request.js'

/** A partition that wants to be read. */
export interface PolledTarget {
  readonly topicId: TopicId
  readonly partition: number
  /** Where it goes on. */
  readonly nextOffset: number
  /** Bytes that it takes now. */
  readonly roomBytes: number
  /** The partition ends here by now. */
  endIs(durableEnd: number): void
  delivered(found: { readonly entries: Uint8Array; readonly durableEnd: number }): void
  ended(error: MillraceError): void
}

interface Polled {
  readonly target: PolledTarget
  durableEnd: number
  isFetching: boolean
}

/** Between two rounds of asking where partitions end; longer for many, because each costs the broker something. */
const ROUND_MS_MIN = 100
const LOOKS_PER_MS = 10
/** FETCH requests without an answer: few, because each is answered at once. */
const FETCHES_MAX = 8

/**
 * The partitions of one link for which the broker has no subscription left. Each round asks where all of a topic end, in one
 * request; those that have more and room for it are fetched, one after the other in turn.
 */
export class PolledPartitions {
  readonly #link: Link
  readonly #clock: Clock
  readonly #polled = new Map<PolledTarget, Polled>()
  /** Have more and wait for their turn. */
  readonly #due = new Set<Polled>()
  #fetches = 0
  #isInRound = false
  #timer: Timer | undefined

  /** Those of this link. */
  static of(link: Link, clock: Clock): PolledPartitions {
    const known = byLink.get(link) ?? new PolledPartitions(link, clock)
    byLink.set(link, known)
    return known
  }

  private constructor(link: Link, clock: Clock) {
    this.#link = link
    this.#clock = clock
  }

  add(target: PolledTarget): void {
    this.#polled.set(target, { target, durableEnd: target.nextOffset, isFetching: false })
    // A little later, so that those that come together are asked for together.
    if (!this.#isInRound) this.#timer ??= this.#clock.setTimer(() => void this.#round(), 1)
  }

  remove(target: PolledTarget): void {
    const polled = this.#polled.get(target)
    if (polled === undefined) return
    this.#polled.delete(target)
    this.#due.delete(polled)
    if (this.#polled.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** It has room again. */
  hasRoom(target: PolledTarget): void {
    const polled = this.#polled.get(target)
    if (polled !== undefined) this.#want(polled)
  }

  async #round(): Promise<void> {
    this.#isInRound = true
    this.#timer = undefined
    const byTopic = new Map<TopicId, Polled[]>()
    for (const polled of this.#polled.values()) {
      const { topicId } = polled.target
      const all = byTopic.get(topicId)
      if (all === undefined) byTopic.set(topicId, [polled])
      else all.push(polled)
    }
    const { offsetQueriesMax } = HARD_LIMITS
    for (const [topicId, all] of byTopic) {
      for (let from = 0; from < all.length; from += offsetQueriesMax) {
        await this.#look(topicId, all.slice(from, from + offsetQueriesMax))
      }
    }
    this.#isInRound = false
    if (this.#polled.size === 0 || !this.#link.isOpen) return
    const pauseMs = Math.max(ROUND_MS_MIN, this.#polled.size / LOOKS_PER_MS)
    this.#timer = this.#clock.setTimer(() => void this.#round(), pauseMs)
  }

  /** Asks where these end. */
  #look(topicId: TopicId, all: readonly Polled[]): Promise<void> {
    const queries = all.map(({ target }) => ({
      partition: target.partition,
      at: OFFSET_AT.latest,
      time: 0,
    }))
    return new Promise((resolve) => {
      askLink(
        this.#link,
        [listOffsets, offsetsListed],
        { topicId, queries },
        {
          answered: ({ offsets }) => {
            resolve()
            for (const [i, polled] of all.entries()) {
              const end = offsets[i]?.durableEnd
              if (end !== undefined && this.#isCurrent(polled)) this.#endIs(polled, end)
            }
          },
          failed: (error) => {
            resolve()
            // What passes is asked again in the next round.
            if (error.retriable || !this.#link.isOpen) return
            for (const polled of all) if (this.#isCurrent(polled)) polled.target.ended(error)
          },
        },
      )
    })
  }

  /** Not one that was removed meanwhile, or added anew. */
  #isCurrent(polled: Polled): boolean {
    return this.#polled.get(polled.target) === polled
  }

  #endIs(polled: Polled, durableEnd: number): void {
    polled.durableEnd = durableEnd
    polled.target.endIs(durableEnd)
    this.#want(polled)
  }

  #want(polled: Polled): void {
    const { target, durableEnd, isFetching } = polled
    // An offset behind the end is a mistake that FETCH tells of.
    if (isFetching || !this.#isCurrent(polled) || durableEnd === target.nextOffset) return
    if (target.roomBytes <= 0) return
    this.#due.add(polled)
    this.#fetch()
  }

  #fetch(): void {
    for (const polled of this.#due) {
      if (this.#fetches >= FETCHES_MAX) return
      this.#due.delete(polled)
      this.#fetchOne(polled)
    }
  }

  #fetchOne(polled: Polled): void {
    const { target } = polled
    const { topicId, partition, nextOffset: offset, roomBytes: maxBytes } = target
    const ended = (): void => {
      this.#fetches--
      polled.isFetching = false
    }
    this.#fetches++
    polled.isFetching = true
    askLink(
      this.#link,
      [fetch, fetched],
      { topicId, partition, offset, minBytes: 0, maxBytes: Math.max(1, maxBytes), maxWaitMs: 0 },
      {
        answered: ({ entries, durableEnd }) => {
          ended()
          if (this.#isCurrent(polled)) {
            polled.durableEnd = durableEnd
            if (entries.length > 0) {
              target.delivered({ entries, durableEnd })
              this.#want(polled)
            } else target.endIs(durableEnd)
          }
          this.#fetch()
        },
        failed: (error) => {
          ended()
          if (!this.#link.isOpen) return
          // Others of this connection may have all the FETCH requests there are: the next round tries again.
          const isPassing = error.retriable || error.code === 'LIMIT_REACHED'
          if (!isPassing && this.#isCurrent(polled)) target.ended(error)
          this.#fetch()
        },
      },
    )
  }
}

const byLink = new WeakMap<Link, PolledPartitions>()
