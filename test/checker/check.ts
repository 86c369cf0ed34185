import type { HistoryEvent, Violation } from './history.js'
import { Observed } from './observed.js'
import type { Rule } from './rule.js'
import { ackKept } from './rules/ack-kept.js'
import { atomicUnit } from './rules/atomic-unit.js'
import { chunkBytes } from './rules/chunk-bytes.js'
import { closedStream } from './rules/closed-stream.js'
import { cursorRises } from './rules/cursor-rises.js'
import { durableEnd } from './rules/durable-end.js'
import { forkPrefix } from './rules/fork-prefix.js'
import { leaseExclusive } from './rules/lease-exclusive.js'
import { lostWrite } from './rules/lost-write.js'
import { noDamage } from './rules/no-damage.js'
import { nothingSkipped } from './rules/nothing-skipped.js'
import { offsetOrder } from './rules/offset-order.js'
import { oneValue } from './rules/one-value.js'
import { producerOrder } from './rules/producer-order.js'
import { producerResumes } from './rules/producer-resumes.js'
import { staleMember } from './rules/stale-member.js'
import { startsAgain } from './rules/starts-again.js'
import { truncation } from './rules/truncation.js'
import { unwantedWrite } from './rules/unwanted-write.js'
import { writtenOnce } from './rules/written-once.js'

export const rules: readonly Rule[] = [
  lostWrite,
  unwantedWrite,
  oneValue,
  durableEnd,
  offsetOrder,
  producerOrder,
  writtenOnce,
  atomicUnit,
  ackKept,
  cursorRises,
  staleMember,
  nothingSkipped,
  leaseExclusive,
  truncation,
  producerResumes,
  closedStream,
  forkPrefix,
  chunkBytes,
  noDamage,
  startsAgain,
]

/** A broken promise often shows in every record: so many tell enough. */
const FINDINGS_MAX = 20

/**
 * Checks a history against every rule: an empty list when all promises were kept, else at most twenty violations of each. Throws
 * where the history itself cannot be: a request that ends twice, or was never asked for.
 */
export function checkHistory(events: readonly HistoryEvent[]): Violation[] {
  const observed = new Observed(events)
  const violations: Violation[] = []
  for (const rule of rules) {
    let found = 0
    for (const finding of rule.find(observed)) {
      violations.push({ rule: rule.name, ...finding, events: [...new Set(finding.events)] })
      if (++found === FINDINGS_MAX) break
    }
  }
  return violations
}
