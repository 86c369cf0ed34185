import type { Report } from './report.js'
import { markdownTable } from './result-table.js'

/** Puts table and plots between the section's two marks on the page. Throws where they are missing. */
export function pageWith(page: string, report: Report, plots: readonly string[]): string {
  const [beginMark, endMark] = [`<!-- ${report.section} begin -->`, `<!-- ${report.section} end -->`]
  const [begin, end] = [page.indexOf(beginMark), page.indexOf(endMark)]
  if (begin === -1 || end < begin) throw new Error(`the page has no ${beginMark} before an ${endMark}`)
  return `${page.slice(0, begin + beginMark.length)}\n${sectionOf(report, plots)}\n${page.slice(end)}`
}

export function headOf({ hardware, versions, takenAt, command, isQuick }: Report): string {
  const { cpu, cores, memoryBytes, kernel, disk } = hardware
  const place = [disk.filesystem, disk.device].filter((text) => text !== undefined).join(' on ')
  const commit = versions.commit === undefined ? '' : ` at ${versions.commit}`
  const quick = isQuick ? ' A quick run: sizes are smaller than the labels say.' : ''
  return (
    `\`${command}\`, ${takenAt.slice(0, 10)}: ${cores} x ${cpu}, ${Math.round(memoryBytes / 2 ** 30)} GiB, ${kernel}, ` +
    `${place === '' ? 'unknown disk' : place}; Node ${versions.node}, Millrace ${versions.millrace}${commit}. ` +
    `Medians, with the lowest and the highest run in brackets.${quick}`
  )
}

/** One line, or none. */
export function notMeasuredText({ peersNotMeasured }: Report): string[] {
  const peers = peersNotMeasured.map(({ name, why }) => `${name} (${why})`)
  return peers.length === 0 ? [] : [`Not measured: ${peers.join('; ')}.`]
}

function sectionOf(report: Report, plots: readonly string[]): string {
  const peers = report.peers.map(({ name, version, settings }) => `- ${name} ${version}: ${settings}`)
  return [
    headOf(report),
    markdownTable(report.verdicts),
    ...(peers.length > 0 ? [peers.join('\n')] : []),
    ...notMeasuredText(report),
    ...report.figures.flatMap(({ name, failures }) =>
      failures.map((failure) => `Failed in ${name}: ${failure}`),
    ),
    ...plots.map((file) => `![${file.replace(/^bench-|\.svg$/g, '')}](${file})`),
  ].join('\n\n')
}
