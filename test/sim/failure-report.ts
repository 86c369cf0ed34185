/** The command that runs the same again. */
export function replayCommand({ seed, steps }: { seed: number; steps: number }): string {
  return `npm run sim -- --seed ${seed} --steps ${steps}`
}

/** An error with what caused it, indented. */
export function describeFailure(failure: Error): string {
  const lines: string[] = []
  for (let cause: unknown = failure; cause !== undefined; cause = (cause as Error).cause) {
    lines.push(cause instanceof Error ? (cause.stack ?? String(cause)) : String(cause))
    if (!(cause instanceof Error)) break
  }
  return lines.join('\ncaused by ').replace(/^/gm, '  ')
}
