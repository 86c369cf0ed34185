import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { checkHistory } from '../checker/check.js'
import type { EventOf, HistoryEvent } from '../checker/history.js'
import { SeededRandom } from '../support/seeded-random.js'
import { HELP, tortureArguments } from './arguments.js'
import { Killer } from './killer.js'
import { torture } from './round.js'
import { textReport } from './text-report.js'
import { runTorture } from './torture.js'

const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const KILLED_MS = 8_000
const WRITES_MIN = 200
/** All kinds of work: without one of them the rules have nothing to look at. */
const TYPES = ['read', 'given', 'assigned', 'leased', 'bounds', 'cursor', 'log', 'brokerDown'] as const

test('a broker that is killed again and again under every kind of work keeps every promise, and the checker sees a lie', {
  timeout: 600_000,
}, async () => {
  console.log(`seed ${seed}`)
  const directory = await mkdtemp(join(tmpdir(), 'millrace-torture-'))
  try {
    const random = new SeededRandom(seed)
    const killer = new Killer(random.fork())
    const report = await torture({ dataDir: directory, ms: KILLED_MS, random, killer, isEnough })
    const { events, written, problems, violations } = report
    console.log(`${killer.total} kills, ${written} records acknowledged, ${events.length} events`)
    expect(problems).toEqual([])
    expect(violations).toEqual([])
    expect(killer.total).toBeGreaterThanOrEqual(3)
    expect(written).toBeGreaterThan(WRITES_MIN)
    const types = new Set(events.map(({ type }) => type))
    for (const type of TYPES) expect(types).toContain(type)
    for (const [rule, ...told] of lies(events)) {
      const seen = told.some((lie) => checkHistory(lie).some((violation) => violation.rule === rule))
      expect(seen, `a lie about ${rule} is seen`).toBe(true)
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

/** Enough was done for the checks below. What is looked at only in the end need not be there yet. */
function isEnough(events: readonly HistoryEvent[]): boolean {
  const types = new Set(events.map(({ type }) => type))
  const atEnd = new Set<string>(['cursor', 'log', 'brokerDown'])
  const answered = new Set(events.flatMap((event) => (event.type === 'done' ? [event.op] : [])))
  // No reset and no deletion makes a place of these promise less.
  const isKept = (event: HistoryEvent): boolean =>
    event.type === 'settle' && event.kind === 'ack' && event.group === 'mailers' && answered.has(event.op)
  const isCopied = (event: HistoryEvent): boolean => event.type === 'given' && event.group === 'copiers'
  const places = events.flatMap((event) => (event.type === 'written' ? event.places : []))
  return (
    TYPES.every((type) => types.has(type) || atEnd.has(type)) &&
    places.filter(({ duplicate }) => !duplicate).length > WRITES_MIN &&
    events.some(isKept) &&
    events.some(isCopied)
  )
}

/** What really happened, with one lie in it each; of those for one rule, one has to be seen: not every place promises all. */
function lies(events: readonly HistoryEvent[]): [rule: string, ...lies: HistoryEvent[][]][] {
  const of = <Type extends HistoryEvent['type']>(type: Type) =>
    events.filter((event): event is EventOf<Type> => event.type === type)
  const values = new Map(of('write').map(({ op, records }) => [op, records[0]?.value ?? '']))
  const writtenValue = ({ op }: EventOf<'written'>): string => values.get(op) ?? ''
  const last = new Map(of('log').flatMap((log) => log.records.map(([, value]) => [value, log] as const)))
  const placeOf = ({ topicId, partition }: { topicId: string; partition: number }) =>
    `${topicId}/${partition}`
  // A topic may expire.
  const written = lastOfEach(
    of('written').filter((event) => !event.places[0]?.duplicate && last.has(writtenValue(event))),
    (event) => placeOf(last.get(writtenValue(event)) as EventOf<'log'>),
  )
  const answered = new Set(of('done').map(({ op }) => op))
  // A queue may have been reset.
  const acked = lastOfEach(
    of('settle').filter(({ op, kind }) => kind === 'ack' && answered.has(op)),
    (event) => `${event.group}/${placeOf(event)}`,
  )
  // A reset of unknown end may have moved a cursor back, or its topic is gone.
  const moved = lastOfEach(
    of('cursor').filter(({ offset }) => offset > 0),
    (event) => `${event.group}/${placeOf(event)}`,
  )
  const end = { index: events.length, atMs: Date.now() }
  const instead = (one: HistoryEvent | undefined, other: object): HistoryEvent[] =>
    events.map((event) => (event === one ? ({ ...one, ...other } as HistoryEvent) : event))
  const without = (lost: string): HistoryEvent[] => {
    const log = last.get(lost)
    return instead(log, { records: log?.records.filter(([, value]) => value !== lost) })
  }
  return [
    ['lost-write', ...written.map((event) => without(writtenValue(event)))],
    ['unwanted-write', ...written.map((event) => instead(event, { type: 'refused' }))],
    ['lease-exclusive', ...acked.map((event) => [...events, { ...end, ...leaseOf(event) }])],
    [
      'cursor-rises',
      ...moved.map((event) => [
        ...events,
        { ...event, ...end, offset: event.offset - 1, since: events.length },
      ]),
    ],
  ]
}

function lastOfEach<Event>(events: readonly Event[], placeOf: (event: Event) => string): Event[] {
  return [...new Map(events.map((event) => [placeOf(event), event])).values()]
}

const leaseOf = ({ group, member, topicId, partition, offset }: EventOf<'settle'>) =>
  ({ type: 'leased', group, member, topicId, partition, offset, leaseId: 1e9, count: 1 }) as const

test('torture keeps what is needed to see what went wrong, and says where', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-torture-'))
  try {
    // A setting that no broker takes: it does not start.
    process.env.MILLRACE_TAIL_CACHE_BYTES = 'none'
    const report = await runTorture({ ms: 1_000, seed: 1, directory })
    expect(report.problems.join()).toContain('before it was ready')
    expect(textReport(report)).toContain(`kept in ${join(directory, 'torture-1-1')}`)
  } finally {
    delete process.env.MILLRACE_TAIL_CACHE_BYTES
    await rm(directory, { recursive: true, force: true })
  }
})

test('the command line of torture says what it takes', () => {
  expect(tortureArguments(['--help'])).toBeUndefined()
  for (const option of HELP.matchAll(/^ {2}--([a-z]+)/gm))
    expect(() => tortureArguments([`--${option[1]}=1`])).not.toThrow(/Unknown/)
  expect(tortureArguments(['--minutes', '0.5', '--seed', '7', '--json'])).toMatchObject({
    minutes: 0.5,
    seed: 7,
    isJson: true,
  })
  expect(() => tortureArguments(['--minutes', 'x'])).toThrow('--minutes')
  expect(() => tortureArguments(['--seed', '1.5'])).toThrow('--seed')
})
