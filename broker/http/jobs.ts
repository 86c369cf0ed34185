import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes, type MemberId, memberIdFrom } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { SettleKind } from '../../protocol/messages/queue.js'
import type { GroupsFace } from '../groups/groups-face.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Random } from '../platform/random.js'
import type { ShardFace, TopicInfo } from '../shard/shard-face.js'
import { ClaimLink, type DeliveredJob } from './claim-link.js'
import { JobGathering } from './job-gathering.js'
import { type JobToken, tokenText } from './job-token.js'

export interface Claim {
  readonly group: string
  readonly topic: TopicInfo
  /** At most so many jobs. */
  readonly max: number
  readonly waitMs: number
  /** Of the queue, if this is its first worker. */
  readonly leaseMs: number
  readonly maxDeliveries: number
  /** The client is gone: what it would have got goes to others. */
  readonly signal: AbortSignal
}

export interface ClaimedJob extends Omit<DeliveredJob, 'at'> {
  readonly token: string
}

/** What is to become of jobs. */
export interface Settlement {
  readonly kind: Exclude<SettleKind, 'release'>
  readonly group: string
  readonly tokens: readonly JobToken[]
  /** nack: the delay before the next delivery, null for the broker's backoff. extend: from now on. Else null. */
  readonly ms: number | null
  readonly reason: string | null
}

export interface Settled {
  readonly refused: readonly { readonly token: string; readonly code: string }[]
  /** Of extended leases: broker time, milliseconds. */
  readonly deadlines: readonly { readonly token: string; readonly deadline: number }[]
}

export interface JobsOptions {
  readonly backend: () => { readonly shard: ShardFace; readonly groups: GroupsFace }
  readonly clock: Clock
  readonly random: Random
}

/** A member of a work queue for as long as the leases of one claim last. */
interface Worker {
  readonly groupId: number
  readonly group: string
  readonly leaseMs: number
  /** Jobs that are not settled, by their tokens; undefined where others may be out that nobody here knows of. */
  readonly open: Set<string> | undefined
  timer: Timer | undefined
}

/** What a worker that nobody settles for is kept after its last lease. */
const AFTERWARDS_MS = 1_000
const WORKERS_MAX = 10_000
/** Attempts of one membership: claiming, holding what was claimed, coming back after the broker was away. */
const ATTEMPT = { claim: 1, hold: 2, back: 3 } as const

/**
 * Work queues for workers without a connection. Each claim is a member of its own, which gets jobs for the moment of the claim
 * and is kept, without room for more, until its jobs are settled or their leases have ended.
 */
export class Jobs {
  readonly #options: JobsOptions
  readonly #workers = new Map<MemberId, Worker>()

  constructor(options: JobsOptions) {
    this.#options = options
  }

  /** Jobs, none if there were none in time. Rejects with what joining a work queue does, and LIMIT_REACHED. */
  async claim(claim: Claim): Promise<ClaimedJob[]> {
    if (this.#workers.size >= WORKERS_MAX)
      throw new MillraceError('LIMIT_REACHED', {
        message: `${WORKERS_MAX} claims have jobs that are not settled`,
      })
    const { shard, groups } = this.#options.backend()
    const memberId = memberIdFrom(hexFromBytes(this.#options.random.bytes(16)))
    const link = new ClaimLink((topicId) => shard.topic(topicId))
    const { max, waitMs, signal } = claim
    const gathering = new JobGathering(link, { max, signal, clock: this.#options.clock })
    const joining = this.#joining(claim, memberId)
    const { groupId, leaseMs } = await groups.join(
      { ...joining, attempt: ATTEMPT.claim, prefetch: max, heldLeases: [] },
      link,
    )
    gathering.start(waitMs)
    const jobs = await gathering.jobs
    const leave = (): Promise<void> => groups.leave({ groupId, memberId }).catch(() => {})
    if (jobs.length === 0 || signal.aborted) {
      await leave()
      return []
    }
    // From here on it has room for nothing: what is on its way goes to others, what it has it has begun.
    const holding = new ClaimLink(() => undefined)
    const heldLeases = leasesOf(jobs)
    try {
      await groups.join({ ...joining, attempt: ATTEMPT.hold, prefetch: 0, heldLeases }, holding)
    } catch (error) {
      await leave()
      throw error
    }
    if (signal.aborted) {
      await leave()
      return []
    }
    const tokens = jobs.map(({ at }) => tokenText({ memberId, claimedId: claim.topic.topicId, ...at }))
    this.#keep(
      memberId,
      { groupId, group: claim.group, leaseMs, open: new Set(tokens), timer: undefined },
      holding,
    )
    return jobs.map(({ at: _, ...job }, index) => ({ ...job, token: tokens[index] as string }))
  }

  /** Resolves once each is durable or refused. */
  async settle(settlement: Settlement): Promise<Settled> {
    const byMember = new Map<MemberId, JobToken[]>()
    for (const token of settlement.tokens) {
      const known = byMember.get(token.memberId)
      if (known === undefined) byMember.set(token.memberId, [token])
      else known.push(token)
    }
    const all = await Promise.all(
      [...byMember].map(([memberId, tokens]) => this.#settleOf(memberId, { ...settlement, tokens })),
    )
    return {
      refused: all.flatMap(({ refused }) => refused),
      deadlines: all.flatMap(({ deadlines }) => deadlines),
    }
  }

  async #settleOf(memberId: MemberId, settlement: Settlement): Promise<Settled> {
    const { kind, tokens, ms, reason, group } = settlement
    const { groups } = this.#options.backend()
    const texts = tokens.map(tokenText)
    try {
      const worker = this.#workers.get(memberId) ?? (await this.#comeBack(memberId, settlement))
      if (worker.group !== group) throw new MillraceError('LEASE_LOST')
      const items = tokens.map(({ topicId, partition, leaseId, offset }) => {
        return { kind, topicId, partition, leaseId, from: offset, to: offset + 1, ms, reason }
      })
      const { results, deadlines } = await groups.queueSettle({ groupId: worker.groupId, memberId, items })
      if (kind === 'extend') this.#expireAfter(memberId, worker, ms ?? 0)
      else this.#closed(memberId, worker, texts)
      return {
        refused: results.map(({ index, code }) => ({ token: texts[index] as string, code })),
        deadlines: deadlines.map(({ index, deadline }) => ({ token: texts[index] as string, deadline })),
      }
    } catch (error) {
      if (!(error instanceof MillraceError) || !LOST.has(error.code)) throw error
      return { refused: texts.map((token) => ({ token, code: 'LEASE_LOST' })), deadlines: [] }
    }
  }

  /** The broker was away meanwhile: the leases are in its log, and the tokens say whose they are. */
  async #comeBack(memberId: MemberId, { group, tokens }: Settlement): Promise<Worker> {
    const { shard, groups } = this.#options.backend()
    const topic = shard.topic((tokens[0] as JobToken).claimedId)
    // Joining would make a group that is not there.
    await groups.describe({ name: group, topicId: null })
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    const link = new ClaimLink(() => undefined)
    const joining = this.#joining({ group, topic, leaseMs: 1_000, maxDeliveries: 1 }, memberId)
    const heldLeases = leasesOf(tokens.map((at) => ({ at })))
    const { groupId, leaseMs } = await groups.join(
      { ...joining, attempt: ATTEMPT.back, prefetch: 0, heldLeases },
      link,
    )
    return this.#keep(memberId, { groupId, group, leaseMs, open: undefined, timer: undefined }, link)
  }

  #joining(
    { group, topic, leaseMs, maxDeliveries }: Pick<Claim, 'group' | 'topic' | 'leaseMs' | 'maxDeliveries'>,
    memberId: MemberId,
  ) {
    return {
      group,
      kind: 'queue' as const,
      memberId,
      topicIds: [topic.topicId],
      ifNoCursor: 'earliest' as const,
      sessionTimeoutMs: HARD_LIMITS.sessionTimeoutMsMax,
      leaseMs,
      maxDeliveries,
      held: [],
    }
  }

  #keep(memberId: MemberId, worker: Worker, link: ClaimLink): Worker {
    this.#workers.set(memberId, worker)
    link.onEnd = () => this.#forget(memberId, worker)
    this.#expireAfter(memberId, worker, worker.leaseMs)
    return worker
  }

  #expireAfter(memberId: MemberId, worker: Worker, ms: number): void {
    worker.timer?.cancel()
    const longest = Math.max(ms, worker.leaseMs) + AFTERWARDS_MS
    worker.timer = this.#options.clock.setTimer(() => this.#leave(memberId, worker), longest, { unref: true })
  }

  /** These are settled, or were never its own; with the last one it is done. */
  #closed(memberId: MemberId, worker: Worker, tokens: readonly string[]): void {
    const { open } = worker
    if (open === undefined) return
    for (const token of tokens) open.delete(token)
    if (open.size === 0) this.#leave(memberId, worker)
  }

  #leave(memberId: MemberId, worker: Worker): void {
    this.#forget(memberId, worker)
    const { groups } = this.#options.backend()
    groups.leave({ groupId: worker.groupId, memberId }).catch(() => {})
  }

  #forget(memberId: MemberId, worker: Worker): void {
    worker.timer?.cancel()
    if (this.#workers.get(memberId) === worker) this.#workers.delete(memberId)
  }
}

/** Codes that say that a job is nobody's business any more. */
const LOST: ReadonlySet<string> = new Set([
  'LEASE_LOST',
  'UNKNOWN_MEMBER',
  'UNKNOWN_GROUP',
  'UNKNOWN_TOPIC',
  'GROUP_KIND_CONFLICT',
  'MEMBER_EXISTS',
  'FENCED',
])

/** The leases of jobs, all of them begun. */
function leasesOf(jobs: readonly { readonly at: DeliveredJob['at'] }[]) {
  const leases = new Map<
    string,
    Omit<DeliveredJob['at'], 'offset'> & { started: { from: number; to: number }[] }
  >()
  for (const { at } of [...jobs].sort((a, b) => a.at.offset - b.at.offset)) {
    const { topicId, partition, leaseId, offset } = at
    const key = `${topicId}/${partition}/${leaseId}`
    const lease = leases.get(key) ?? { topicId, partition, leaseId, started: [] }
    leases.set(key, lease)
    const last = lease.started.at(-1)
    if (last?.to === offset) last.to++
    else if (last === undefined || last.to < offset) lease.started.push({ from: offset, to: offset + 1 })
  }
  return [...leases.values()]
}
