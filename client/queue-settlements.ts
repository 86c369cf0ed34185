import { isErrorCode, MillraceError } from '../protocol/error-codes.js'
import type { MemberId } from '../protocol/ids.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import {
  type QueueSettled,
  queueSettle,
  queueSettled,
  type SettleItem,
  type SettleKind,
} from '../protocol/messages/queue.js'
import { Backoff } from './backoff.js'
import type { Timer } from './clock.js'
import { withOutcome } from './errors.js'
import type { Link } from './link.js'
import type { Settings } from './options.js'
import type { HeldJob } from './queue-leases.js'
import { askLink } from './request.js'

/** What is to be said of one job. Exactly one of the two is called, once. */
export interface Settlement {
  readonly kind: SettleKind
  readonly job: HeldJob
  readonly ms: number | null
  readonly reason: string | null
  done(): void
  refused(error: MillraceError): void
}

interface Entry {
  readonly settlement: Settlement
  /** Its item was refused, and held others: it goes again alone, to tell which is at fault. */
  isSingle: boolean
  /** It was sent, and the answer is lost: whatever the next answer is, it may be done. */
  isMaybeDone: boolean
}

interface Item {
  readonly fields: SettleItem
  readonly entries: Entry[]
}

export interface SettlingMember {
  readonly link: Link
  readonly groupId: number
  readonly memberId: MemberId
}

/** QUEUE_SETTLE requests without an answer; what comes meanwhile goes together. */
const UNDER_WAY_MAX = 4

/**
 * What the broker is to hear of jobs. Gathers what comes in one run of code, and joins acks that lie side by side. What has
 * no answer when the link is lost goes again when the member is back.
 */
export class QueueSettlements {
  readonly #settings: Settings
  readonly #backoff: Backoff
  #pending: Entry[] = []
  readonly #underWay = new Set<Entry[]>()
  #member: SettlingMember | undefined
  #isScheduled = false
  #timer: Timer | undefined
  #whenIdle: (() => void)[] = []

  constructor(settings: Settings) {
    this.#settings = settings
    this.#backoff = new Backoff({ random: settings.random, baseMs: 20, capMs: 1_000 })
  }

  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#underWay.size === 0
  }

  add(settlement: Settlement): void {
    this.#pending.push({ settlement, isSingle: false, isMaybeDone: false })
    this.#schedule()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#send(UNDER_WAY_MAX)
    })
  }

  /** The member has joined. */
  begin(member: SettlingMember): void {
    this.#member = member
    this.#send(UNDER_WAY_MAX)
  }

  /** The link is lost, or the member is out. */
  pause(): void {
    this.#member = undefined
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Sends all there is, now. */
  flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#send(Number.POSITIVE_INFINITY)
  }

  /** Resolves when everything has its answer. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.isIdle) resolve()
      else this.#whenIdle.push(resolve)
    })
  }

  /** Refuses what waits to be sent of jobs for which `isLost`. */
  refuse(isLost: (job: HeldJob) => boolean, error: MillraceError): void {
    const lost = this.#pending.filter(({ settlement }) => isLost(settlement.job))
    this.#pending = this.#pending.filter(({ settlement }) => !isLost(settlement.job))
    for (const entry of lost) refuse(entry, error)
    this.#tellIdle()
  }

  #send(underWayMax: number): void {
    while (this.#member?.link.isOpen && this.#timer === undefined && this.#pending.length > 0) {
      if (this.#underWay.size >= underWayMax) return
      this.#sendOne(this.#member, itemsOf(this.#pending.splice(0, HARD_LIMITS.acksPerRequestMax)))
    }
  }

  #sendOne({ link, groupId, memberId }: SettlingMember, items: readonly Item[]): void {
    const entries = items.flatMap((item) => item.entries)
    this.#underWay.add(entries)
    const fields = { groupId, memberId, items: items.map((item) => item.fields) }
    askLink(link, [queueSettle, queueSettled], fields, {
      answered: (answer) => {
        this.#underWay.delete(entries)
        this.#backoff.reset()
        this.#answered(items, answer)
        this.#goOn()
      },
      failed: (error) => {
        this.#underWay.delete(entries)
        this.#failed(entries, error, link)
        this.#goOn()
      },
    })
  }

  #answered(items: readonly Item[], { results }: QueueSettled): void {
    const codes = new Map(results.map(({ index, code }) => [index, code]))
    for (const [index, { entries }] of items.entries()) {
      const code = codes.get(index)
      if (code === undefined) {
        for (const { settlement } of entries) settlement.done()
      } else if (entries.length > 1) {
        for (const entry of entries) entry.isSingle = true
        this.#pending.unshift(...entries)
      } else {
        const known = isErrorCode(code) ? code : 'LEASE_LOST'
        for (const entry of entries) refuse(entry, new MillraceError(known))
      }
    }
  }

  #failed(entries: readonly Entry[], error: MillraceError, link: Link): void {
    if (error.outcome === 'unknown') for (const entry of entries) entry.isMaybeDone = true
    if (!error.retriable && link.isOpen) {
      for (const entry of entries) refuse(entry, error)
      return
    }
    this.#pending.unshift(...entries)
    if (!link.isOpen || this.#timer !== undefined) return
    const delayMs = error.retryAfterMs ?? this.#backoff.nextDelayMs()
    this.#timer = this.#settings.clock.setTimer(() => {
      this.#timer = undefined
      this.#send(UNDER_WAY_MAX)
    }, delayMs)
  }

  #goOn(): void {
    this.#send(UNDER_WAY_MAX)
    this.#tellIdle()
  }

  #tellIdle(): void {
    if (!this.isIdle) return
    const callbacks = this.#whenIdle
    this.#whenIdle = []
    for (const callback of callbacks) callback()
  }
}

function refuse({ settlement, isMaybeDone }: Entry, error: MillraceError): void {
  settlement.refused(withOutcome(error, isMaybeDone ? 'unknown' : 'notWritten'))
}

/** One item for each settlement; acks and extensions of neighbours in one lease are joined. */
function itemsOf(entries: readonly Entry[]): Item[] {
  const items: Item[] = []
  for (const entry of entries) {
    const { kind, job, ms, reason } = entry.settlement
    const last = items.at(-1)
    if (last !== undefined && mayJoin(last, entry)) {
      last.fields.to++
      last.entries.push(entry)
      continue
    }
    const { topicId, partition, leaseId } = job.lease
    const [from, to] = [job.offset, job.offset + 1]
    items.push({ fields: { kind, topicId, partition, leaseId, from, to, ms, reason }, entries: [entry] })
  }
  return items
}

function mayJoin({ fields, entries }: Item, { settlement, isSingle }: Entry): boolean {
  const { kind, job, ms } = settlement
  const { lease } = (entries[0] as Entry).settlement.job
  if (isSingle || entries[0]?.isSingle || kind === 'nack') return false
  return fields.kind === kind && fields.ms === ms && lease === job.lease && fields.to === job.offset
}
