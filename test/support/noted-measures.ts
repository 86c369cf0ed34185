import type { Measures } from '../../load/k6/measures.js'

/** Measures that keep what they are told: errors as `kind: detail`, everything else by its name. */
export function notedMeasures(): { measures: Measures; wrongs: string[]; noted: Record<string, number[]> } {
  const wrongs: string[] = []
  const noted: Record<string, number[]> = {}
  const note = (name: string) => (value: number) => {
    noted[name] = [...(noted[name] ?? []), value]
  }
  const measures: Measures = {
    acked: note('acked'),
    delivered: note('delivered'),
    settled: note('settled'),
    connected: note('connected'),
    produced: note('produced'),
    consumed: note('consumed'),
    done: note('done'),
    redelivered: note('redelivered'),
    wrong: (kind, detail) => void wrongs.push(`${kind}: ${detail}`),
  }
  return { measures, wrongs, noted }
}
