import type { Violation } from '../checker/history.js'
import type { TortureReport } from './torture.js'

/** What a run found, for people. */
export function textReport(report: TortureReport): string {
  const {
    seed,
    rounds,
    seconds,
    kills,
    events,
    records,
    duplicates,
    stallMsMax,
    problems,
    violations,
    kept,
  } = report
  const total = Object.values(kills).reduce((sum, count) => sum + count, 0)
  const lines = [
    `${total} kills in ${seconds} s and ${rounds} rounds, seed ${seed}:`,
    ...Object.entries(kills).map(([place, count]) => `  ${place.padEnd(26)}${count}`),
    `${records} records acknowledged, ${duplicates} duplicates refused, ${events} events checked`,
    `this process stood still for ${stallMsMax} ms at most`,
    ...problems.map((problem) => `PROBLEM: ${problem}`),
    ...violations.map(describeViolation),
    kept === undefined
      ? 'every promise was kept, and every data directory verified'
      : `kept in ${kept}: data, broker.log, findings.json and history.ndjson, which can be checked again with --check`,
  ]
  return lines.join('\n')
}

export const describeViolation = ({ rule, message, events }: Violation): string =>
  [
    `BROKEN: ${rule}: ${message}`,
    ...events.slice(0, 6).map((event) => `    ${short(JSON.stringify(event))}`),
  ].join('\n')

const short = (line: string): string => (line.length > 300 ? `${line.slice(0, 300)}…` : line)
