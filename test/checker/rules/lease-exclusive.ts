import type { EventOf } from '../history.js'
import type { Observed } from '../observed.js'
import type { JobHistory, QueueHistory, Settlement } from '../queue-history.js'
import type { Finding, Rule } from '../rule.js'

type Lease = EventOf<'leased'>

/** A job is one worker's while its lease holds, and nobody's once it is done. */
export const leaseExclusive: Rule = {
  name: 'lease-exclusive',
  promise: 'A lease is exclusive while it is valid, and a job that is done is not given again.',
  *find(observed) {
    const aways = awaysOf(observed)
    for (const [key, queue] of observed.queues) {
      // Behind a reset everything counts as never delivered.
      if ((observed.cursors.get(key)?.resets.length ?? 0) > 0) continue
      const { name } = observed.log(queue.place)
      yield* givenAgainUnderId(queue, name)
      for (const job of queue.jobs.values()) {
        const what = `job ${job.offset} of ${name} for group "${queue.group}"`
        if (job.leases.length > 0) yield* givenWhenDone(job, what)
        yield* doneTwice(job, what)
        if (job.leases.length > 1) yield* overlaps(job, what, aways)
      }
    }
  },
}

/** An id is of one claim, and that of one worker: another one who got it could settle the jobs of the first. */
function* givenAgainUnderId({ group, jobs }: QueueHistory, name: string): Generator<Finding> {
  const owners = new Map<number, Lease>()
  for (const { leases } of jobs.values()) {
    for (const lease of leases) {
      if (lease.leaseId === undefined) continue
      const first = owners.get(lease.leaseId)
      if (first === undefined) owners.set(lease.leaseId, lease)
      else if (first.member !== lease.member)
        yield {
          message: `lease ${lease.leaseId} of ${name} for group "${group}" was given to ${first.member} and to ${lease.member}`,
          events: [first, lease],
        }
    }
  }
}

const doneAcks = ({ settlements }: JobHistory): Settlement[] =>
  settlements.filter(({ kind, doneIndex }) => kind === 'ack' && doneIndex < Number.POSITIVE_INFINITY)

function* givenWhenDone(job: JobHistory, what: string): Generator<Finding> {
  for (const ack of doneAcks(job)) {
    const again = job.leases.find((lease) => {
      if (lease.leaseId !== undefined && ack.leaseId !== undefined) return lease.leaseId > ack.leaseId
      return lease.index > ack.doneIndex
    })
    if (again === undefined) continue
    yield {
      message: `${what} was given to ${again.member}, and ${ack.member} has done it`,
      events: [...ack.request.events, again],
    }
  }
}

/** Two workers, or two atomic writes, cannot both have done it. */
function* doneTwice(job: JobHistory, what: string): Generator<Finding> {
  const [first, ...others] = doneAcks(job)
  if (first === undefined) return
  for (const other of others) {
    if (isSame(first, other)) continue
    yield {
      message: `${what} was done by ${first.member} and again by ${other.member}`,
      events: [...first.request.events, ...other.request.events],
    }
  }
}

/** An ack that was sent again: by one worker for one lease, or in one atomic write. */
function isSame(a: Settlement, b: Settlement): boolean {
  const [first, second] = [a, b].map(({ request: { asked } }) =>
    asked.type === 'write' ? asked.records[0]?.value : undefined,
  )
  return a.member === b.member && a.leaseId === b.leaseId && first === second
}

function* overlaps(job: JobHistory, what: string, aways: Aways): Generator<Finding> {
  const leases = inOrder(job.leases)
  for (const [i, lease] of leases.entries()) {
    const before = leases[i - 1]
    if (before === undefined) continue
    if (lease.count < before.count)
      yield {
        message: `${what} was delivery ${before.count}, and then ${lease.count}`,
        events: [before, lease],
      }
    const isLater = isKnownLater(before, lease)
    const grantedMs = lease.grantedMs ?? lease.atMs
    const untilMs = heldUntil(job, before, lease, aways)
    if (!isLater || grantedMs === undefined || untilMs === undefined || grantedMs >= untilMs) continue
    yield {
      message: `${what} was given to ${lease.member} ${untilMs - grantedMs} ms before the lease of ${before.member} was over`,
      events: [before, lease],
    }
  }
}

const inOrder = (leases: readonly Lease[]): Lease[] =>
  leases.every(({ leaseId }) => leaseId !== undefined)
    ? [...leases].sort((a, b) => (a.leaseId ?? 0) - (b.leaseId ?? 0))
    : [...leases]

/** A slow worker may speak of a lease long after a faster one has spoken of the next. */
const isKnownLater = (before: Lease, lease: Lease): boolean =>
  before.leaseId !== undefined && lease.leaseId !== undefined
    ? lease.leaseId > before.leaseId
    : lease.count > before.count

/** Until when a lease held at least, as far as was known when the next one was; undefined: it may have ended at any time. */
function heldUntil(job: JobHistory, lease: Lease, next: Lease, aways: Aways): number | undefined {
  if (lease.untilMs === undefined) return undefined
  let untilMs = lease.untilMs
  for (const { kind, request, member, leaseId, untilMs: extendedMs, doneIndex } of job.settlements) {
    if (member !== lease.member || leaseId !== lease.leaseId) continue
    if (request.isRefused || request.asked.index > next.index) continue
    if (kind !== 'extend') return undefined
    if (extendedMs !== undefined && doneIndex < next.index) untilMs = Math.max(untilMs, extendedMs)
  }
  const away = (aways.get(`${lease.group}|${lease.member}`) ?? []).findLast(
    ({ event }) => event.index > lease.index && event.index < next.index,
  )
  if (away === undefined || away.backIndex < next.index) return untilMs
  return away.event.untilMs === undefined ? undefined : Math.min(untilMs, away.event.untilMs)
}

type Aways = ReadonlyMap<string, { readonly event: EventOf<'memberAway'>; backIndex: number }[]>

/** When members were away, and when they were back. */
function awaysOf({ absences }: Observed): Aways {
  const aways = new Map<string, { readonly event: EventOf<'memberAway'>; backIndex: number }[]>()
  for (const event of absences) {
    const key = `${event.group}|${event.member}`
    const known = aways.get(key) ?? []
    aways.set(key, known)
    if (event.type === 'memberAway') known.push({ event, backIndex: Number.POSITIVE_INFINITY })
    else {
      const last = known.at(-1)
      if (last !== undefined) last.backIndex = Math.min(last.backIndex, event.index)
    }
  }
  return aways
}
