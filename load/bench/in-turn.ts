import type { Contender, Taken } from './figure.js'
import type { Series } from './series.js'

export interface InTurnResult {
  readonly series: Readonly<Record<string, Series>>
  /** What each contender that failed said; the others go on. */
  readonly failures: readonly string[]
  /** Contenders that cannot do this. */
  readonly unable: readonly string[]
}

/** Takes all contenders once per round, so that what drifts (the disk, the machine) meets all of them alike. */
export async function takeInTurn(
  contenders: readonly Contender[],
  rounds: number,
  onTake: (contender: string, round: number) => void = () => {},
): Promise<InTurnResult> {
  const series: Record<string, number[]> = {}
  const failures: string[] = []
  const isOut = new Set<Contender>()
  const unable: string[] = []
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      if (isOut.has(contender) || (contender.isOnce && round > 0)) continue
      onTake(contender.name, round)
      let taken: Taken | undefined
      try {
        taken = await contender.take()
      } catch (error) {
        failures.push(`${contender.name}: ${error instanceof Error ? error.message : String(error)}`)
        isOut.add(contender)
        continue
      }
      if (taken === undefined) {
        unable.push(contender.name)
        isOut.add(contender)
      }
      for (const [name, value] of Object.entries(taken ?? {})) {
        series[name] ??= []
        series[name].push(value)
      }
    }
  }
  return { series, failures, unable }
}
