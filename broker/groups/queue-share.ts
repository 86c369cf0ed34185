import type { OffsetRanges } from '../shard/offset-ranges.js'
import type { MemberDemand } from './queue-events.js'
import type { Claimable } from './queue-hand.js'

/** How often the jobs were delivered, of those of which that counted or that are among `suspects`, by offset. */
export function countsOf(
  jobs: readonly Claimable[],
  suspects: OffsetRanges,
): { offset: number; count: number }[] {
  const counts: { offset: number; count: number }[] = []
  for (const job of jobs) {
    const told = job.count > 0 ? [job] : suspects.within(job)
    for (const { from, to } of told)
      for (let offset = from; offset < to; offset++) counts.push({ offset, count: job.count })
  }
  return counts.sort((a, b) => a.offset - b.offset)
}

/** Deals jobs out evenly, as far as credits go, each member's from one stretch. */
export function shareOut(
  jobs: readonly Claimable[],
  members: readonly MemberDemand[],
): (MemberDemand & { jobs: Claimable[] })[] {
  let left = jobs.reduce((sum, { from, to }) => sum + to - from, 0)
  const rest = jobs.map((job) => ({ ...job }))
  // Who has little room is served first: what it cannot take, the others share. An odd job goes to who has most.
  const byRoom = [...members].sort((a, b) => a.credits - b.credits)
  return byRoom.map((member, i) => {
    const theirs: Claimable[] = []
    let share = Math.min(member.credits, Math.floor(left / (byRoom.length - i)))
    left -= share
    for (let job = rest[0]; job !== undefined && share > 0; job = rest[0]) {
      const to = Math.min(job.to, job.from + share)
      theirs.push({ ...job, to })
      share -= to - job.from
      job.from = to
      if (job.from === job.to) rest.shift()
    }
    return { ...member, jobs: theirs }
  })
}

/** Jobs that all members together may be given. */
export const demandOf = (members: readonly MemberDemand[]): number =>
  members.reduce((sum, { credits }) => sum + credits, 0)
