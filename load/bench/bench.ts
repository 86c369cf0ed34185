import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BenchContext, Figure } from './figure.js'
import { type InTurnResult, takeInTurn } from './in-turn.js'
import type { Progress } from './progress.js'
import type { FigureReport } from './report/report.js'

export interface BenchOptions extends BenchContext {
  readonly figures: readonly Figure[]
  /** Instead of what each figure says. */
  readonly rounds: number | undefined
  readonly progress: Progress
  readonly onTaken: (report: FigureReport) => void
}

/** Takes figure after figure; one that cannot be taken stops none of the others. */
export async function takeFigures(options: BenchOptions): Promise<FigureReport[]> {
  const reports: FigureReport[] = []
  for (const [index, figure] of options.figures.entries()) {
    options.progress.figure(figure.name, index, options.figures.length)
    const report = await takeFigure(figure, options)
    reports.push(report)
    options.onTaken(report)
  }
  options.progress.end()
  return reports
}

async function takeFigure(figure: Figure, options: BenchOptions): Promise<FigureReport> {
  const { name, about } = figure
  const { isQuick, peers, progress } = options
  const rounds = options.rounds ?? (isQuick ? 1 : (figure.rounds ?? 2))
  const directory = join(options.directory, name)
  let result: InTurnResult
  try {
    const contenders = await figure.contenders({ directory, isQuick, peers })
    result = await takeInTurn(contenders, rounds, (contender, round) =>
      progress.run(name, contender, { round, rounds }),
    )
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error)
    result = { series: {}, failures: [failure], unable: [] }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
  return { name, about, rounds, ...result }
}
