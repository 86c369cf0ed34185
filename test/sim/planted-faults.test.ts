import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type PlantedFault, plantedFaultNames } from '../../broker/platform/planted-faults.js'
import { rules } from '../checker/check.js'
import { root } from '../tidy/source-files.js'
import { FIRST_SEED, SEEDS_PER_FAULT_MAX, STEPS } from './ci-seeds.js'
import { type SimulationReport, simulate } from './simulation.js'

/** Which rules see what follows from each mistake: one of them must; others may see more of it. */
const SEEN_BY: Readonly<Record<PlantedFault, readonly string[]>> = {
  ackBeforeSync: ['no-damage'],
  visibleBeforeDurable: [
    'no-damage',
    'durable-end',
    'one-value',
    'unwanted-write',
    'cursor-rises',
    'ack-kept',
  ],
  writeErrorIgnored: ['lost-write', 'no-damage'],
  walRecycledTooEarly: ['no-damage'],
  tornTailReplayed: ['no-damage', 'unwanted-write', 'starts-again'],
  sealWithoutDirectorySync: ['no-damage'],
  chunkNotSynced: ['no-damage'],
  chunkCrcUnchecked: ['one-value'],
  dedupApartFromData: ['written-once'],
  answerApartFromData: ['written-once'],
  cursorBeforeDurable: ['ack-kept'],
  truncationIgnoresCursors: ['nothing-skipped'],
  leaseNotPersisted: ['lease-exclusive'],
  staleProducerAccepted: ['unwanted-write'],
  staleMemberAccepted: ['stale-member'],
  streamProducerApartFromData: ['producer-resumes'],
  streamClosedNotPersisted: ['closed-stream'],
  chunkUrlServesAnother: ['chunk-bytes'],
  eventIdNamesPageEnd: ['offset-order'],
  controlBehindItsData: ['offset-order'],
  forkPointMovedAtReplay: ['one-value', 'fork-prefix'],
  sourceReadPastFork: ['fork-prefix'],
  sequenceUnchecked: ['producer-order'],
  oldEpochAnswered: ['lost-write'],
  unitTornAtReplay: ['atomic-unit'],
  cursorNotPersisted: ['cursor-rises'],
  deletionNotDone: ['truncation'],
  tornTailHangsStart: ['starts-again'],
}

/** The seeds that showed each mistake when all were last tried from the first one on: tried before the others, to save time. */
const SHOWN_AT: Readonly<Record<PlantedFault, number>> = {
  ackBeforeSync: 1,
  visibleBeforeDurable: 23,
  writeErrorIgnored: 117,
  walRecycledTooEarly: 1,
  tornTailReplayed: 4,
  sealWithoutDirectorySync: 2,
  chunkNotSynced: 3,
  chunkCrcUnchecked: 40,
  dedupApartFromData: 8,
  answerApartFromData: 5,
  cursorBeforeDurable: 63,
  truncationIgnoresCursors: 24,
  leaseNotPersisted: 13,
  staleProducerAccepted: 34,
  staleMemberAccepted: 7,
  streamProducerApartFromData: 59,
  streamClosedNotPersisted: 21,
  chunkUrlServesAnother: 43,
  eventIdNamesPageEnd: 7,
  controlBehindItsData: 6,
  forkPointMovedAtReplay: 6,
  sourceReadPastFork: 2,
  sequenceUnchecked: 29,
  oldEpochAnswered: 19,
  unitTornAtReplay: 22,
  cursorNotPersisted: 7,
  deletionNotDone: 16,
  tornTailHangsStart: 4,
}

/** The power failed, or the broker was killed, before the run came to its end, where the power always fails. */
const hasCrash = ({ ends, failure }: SimulationReport): boolean =>
  ends.powerCut + ends.kill > (failure === undefined ? 1 : 0)

/** A seed that shows the mistake, of the first so many that have a crash in them. */
async function search(planted: PlantedFault, seenBy = SEEN_BY[planted]) {
  const inOrder = Array.from({ length: SEEDS_PER_FAULT_MAX }, (_, i) => FIRST_SEED + i)
  for (const seed of [SHOWN_AT[planted], ...inOrder]) {
    const report = await simulate({ seed, steps: STEPS, planted })
    if (!hasCrash(report)) continue
    // What the checker finds counts, and nothing else that went wrong.
    const found = report.violations.find(({ rule }) => seenBy.includes(rule))
    if (found !== undefined) return { seed, found }
  }
  return undefined
}

describe('the history checker', () => {
  test.each(plantedFaultNames)('finds the mistake %s of a broker', { timeout: 600_000 }, async (planted) => {
    const result = await search(planted)
    if (result === undefined)
      throw new Error(`no rule of ${SEEN_BY[planted].join(', ')} saw it in ${SEEDS_PER_FAULT_MAX} seeds`)
    const { seed, found } = result
    console.log(`${planted}: ${found.rule}, seed ${seed}: ${found.message}`)
  })

  test('finds a mistake that makes ends go back by the rule about ends', { timeout: 600_000 }, async () => {
    expect(await search('unitTornAtReplay', ['durable-end'])).toBeDefined()
  })

  test('has a mistake for every rule that no other rule may find in its place', () => {
    const alone = new Set(
      Object.values(SEEN_BY).flatMap(([rule, ...others]) => (others.length > 0 ? [] : [rule])),
    )
    // The test before this one is about it.
    alone.add('durable-end')
    expect(rules.filter(({ name }) => !alone.has(name))).toEqual([])
    const page = readFileSync(join(root, 'test/checker/README.md'), 'utf8')
    for (const { name } of rules) {
      const [, shownBy = ''] = new RegExp(`^\\| ${name} \\|[^|]*\\| (\\w+) \\|$`, 'm').exec(page) ?? []
      expect(plantedFaultNames).toContain(shownBy)
      if (name !== 'durable-end') expect(SEEN_BY[shownBy as PlantedFault]).toEqual([name])
    }
  })

  test('is given histories of the same seeds without a mistake, in which it must find nothing', () => {
    // test:sim does that, with as many seeds or more, and from the first one on.
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const [, seeds] =
      /MILLRACE_SEEDS=\$\{MILLRACE_SEEDS:-(\d+)\} vitest run test\/sim$/.exec(scripts['test:sim']) ?? []
    expect(Number(seeds)).toBeGreaterThanOrEqual(SEEDS_PER_FAULT_MAX)
    const ci = readFileSync(join(root, '.ci/run'), 'utf8')
    expect(ci).toContain('npm run test:sim')
    expect(ci).toContain('npm run test:teeth')
  })
})
