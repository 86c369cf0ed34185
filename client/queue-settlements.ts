import { inNextTurn } from '#socket'
import { isErrorCode, MillraceError, withOutcome } from '../protocol/error-codes.js'
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
import type { HeldJob, SettlementCaller } from './held-job.js'
import type { Link } from './link.js'
import type { Settings } from './options.js'
import { askLink } from './request.js'

/** Nobody waits. */
export const NOBODY: SettlementCaller = { done: () => {}, refused: () => {} }

/** What is to be said of one job. */
export interface Settlement {
  readonly kind: SettleKind
  readonly job: HeldJob
  readonly ms: number | null
  readonly reason: string | null
  readonly caller: SettlementCaller
}

/** What a program says became of a job. */
export interface Verdict {
  readonly kind: 'ack' | 'nack'
  /** nack: until it may be given out again; undefined: as long as the broker finds right. */
  readonly delayMs?: number | undefined
  readonly reason?: string | undefined
}

export function settlementOf(job: HeldJob, { kind, delayMs, reason }: Verdict): Settlement {
  const shortened = reason?.slice(0, HARD_LIMITS.reasonCharsMax)
  return { kind, job, ms: delayMs ?? null, reason: shortened ?? null, caller: job }
}

class Entry implements Settlement {
  readonly kind: SettleKind
  readonly job: HeldJob
  readonly ms: number | null
  readonly reason: string | null
  readonly caller: SettlementCaller
  /** Its item was refused, and held others: it goes again alone, to tell which is at fault. */
  isSingle = false
  /** It was sent, and the answer is lost: whatever the next answer is, it may be done. */
  isMaybeDone = false

  constructor({ kind, job, ms, reason, caller }: Settlement) {
    this.kind = kind
    this.job = job
    this.ms = ms
    this.reason = reason
    this.caller = caller
  }
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
 * What the broker is to hear of jobs. Gathers what comes in one turn of the event loop, and joins acks that lie side by side.
 * What has no answer when the link is lost goes again when the member is back.
 */
export class QueueSettlements {
  readonly #settings: Settings
  readonly #gone: (job: HeldJob) => void
  readonly #backoff: Backoff
  #pending: Entry[] = []
  readonly #underWay = new Set<Entry[]>()
  #member: SettlingMember | undefined
  #isScheduled = false
  #timer: Timer | undefined
  #whenIdle: (() => void)[] = []

  /** `gone` hears of every job that is settled, or cannot be any more, before whoever settled it does. */
  constructor(settings: Settings, gone: (job: HeldJob) => void) {
    this.#settings = settings
    this.#gone = gone
    this.#backoff = new Backoff({ random: settings.random, baseMs: 20, capMs: 1_000 })
  }

  get isIdle(): boolean {
    return this.#pending.length === 0 && this.#underWay.size === 0
  }

  add(settlement: Settlement): void {
    this.#pending.push(new Entry(settlement))
    if (this.#isScheduled) return
    this.#isScheduled = true
    inNextTurn(this.#sendScheduled)
  }

  readonly #sendScheduled = (): void => {
    this.#isScheduled = false
    this.#send(UNDER_WAY_MAX)
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
    const lost = this.#pending.filter(({ job }) => isLost(job))
    this.#pending = this.#pending.filter(({ job }) => !isLost(job))
    for (const entry of lost) this.#refuse(entry, error)
    this.#tellIdle()
  }

  #send(underWayMax: number): void {
    while (this.#member?.link.isOpen && this.#timer === undefined && this.#pending.length > 0) {
      if (this.#underWay.size >= underWayMax) return
      this.#sendOne(this.#member, this.#pending.splice(0, HARD_LIMITS.acksPerRequestMax))
    }
  }

  #sendOne({ link, groupId, memberId }: SettlingMember, entries: Entry[]): void {
    const items = itemsOf(entries)
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
        for (const entry of entries) {
          if (entry.kind !== 'extend') this.#gone(entry.job)
          entry.caller.done()
        }
      } else if (entries.length > 1) {
        for (const entry of entries) entry.isSingle = true
        this.#pending.unshift(...entries)
      } else {
        const known = isErrorCode(code) ? code : 'LEASE_LOST'
        for (const entry of entries) this.#refuse(entry, new MillraceError(known))
      }
    }
  }

  #failed(entries: readonly Entry[], error: MillraceError, link: Link): void {
    if (error.outcome === 'unknown') for (const entry of entries) entry.isMaybeDone = true
    if (!error.retriable && link.isOpen) {
      const known = error.code === 'UNKNOWN_MEMBER' ? expelled(error) : error
      for (const entry of entries) this.#refuse(entry, known)
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

  #refuse({ kind, job, caller, isMaybeDone }: Entry, error: MillraceError): void {
    if (kind !== 'extend') this.#gone(job)
    caller.refused(withOutcome(error, isMaybeDone ? 'unknown' : 'notWritten'))
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

/** One item for each settlement; acks and extensions of neighbours in one lease are joined. */
function itemsOf(entries: readonly Entry[]): Item[] {
  const items: Item[] = []
  let last: Item | undefined
  for (const entry of entries) {
    if (last !== undefined && mayJoin(last, entry)) {
      last.fields.to++
      last.entries.push(entry)
      continue
    }
    const { kind, job, ms, reason } = entry
    const { topicId, partition, leaseId } = job.lease
    const [from, to] = [job.offset, job.offset + 1]
    last = { fields: { kind, topicId, partition, leaseId, from, to, ms, reason }, entries: [entry] }
    items.push(last)
  }
  return items
}

function mayJoin({ fields, entries }: Item, { kind, job, ms, isSingle }: Entry): boolean {
  const [first] = entries as [Entry]
  if (isSingle || first.isSingle || kind === 'nack') return false
  return fields.kind === kind && fields.ms === ms && first.job.lease === job.lease && fields.to === job.offset
}

/** The broker has taken the member for gone, and says so in a moment: the jobs are another's, or will be. */
const expelled = (cause: MillraceError): MillraceError =>
  new MillraceError('LEASE_LOST', { message: 'the worker was away too long: its jobs go to others', cause })
