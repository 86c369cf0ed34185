import { parseArgs } from 'node:util'

export interface BenchArguments {
  /** `npm run bench:limits`. */
  readonly limits: boolean
  readonly quick: boolean
  /** Undefined: all of the command. */
  readonly only: readonly string[] | undefined
  readonly rounds: number | undefined
  readonly directory: string
  readonly json: string | undefined
  readonly plots: string | undefined
  readonly list: boolean
  readonly help: boolean
}

export const HELP = `npm run bench -- [options]         every figure that takes seconds; under 20 minutes on 2 cores
npm run bench:limits -- [options]  the long and heavy ones; an hour or so

Each figure is taken in turn with its yardsticks, servers and loads in processes of their own.
  --quick          one short run each, in about two minutes; sizes are smaller than the labels say
  --only NAME,...  these figures alone, of either command
  --rounds N       runs of each; default 2 for most, 1 with --quick
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 50 GB free, --quick 10
  --json FILE      where all single runs go; default bench-results/TIME.json
  --plots DIR      writes SVG charts there, and the table into DIR/PERFORMANCE.md between its marks
  --list           names every figure
  --help           this text

Exit code: 0 when every bar that was measured holds, 3 when one does not, 1 when a figure could not be taken,
2 for a wrong command line.`

export class UsageError extends Error {}

/** Throws UsageError. */
export function benchArguments(args: readonly string[], figures: readonly string[]): BenchArguments {
  const values = parsed(args)
  const only = values.only
    ?.split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  for (const name of only ?? []) {
    if (!figures.includes(name)) throw new UsageError(`there is no figure "${name}"; --list names them`)
  }
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1)) {
    throw new UsageError(`--rounds is a whole number from 1 on, not ${values.rounds}`)
  }
  const { limits, quick, directory, json, plots, list, help } = values
  return { limits, quick, only, rounds, directory, json, plots, list, help }
}

/** The command as it can be repeated: what changes the figures, and not where they go. */
export function commandOf({ limits, quick, only, rounds }: BenchArguments): string {
  const options = [
    ...(quick ? ['--quick'] : []),
    ...(only === undefined ? [] : [`--only ${only.join(',')}`]),
    ...(rounds === undefined ? [] : [`--rounds ${rounds}`]),
  ]
  return [`npm run bench${limits ? ':limits' : ''}`, ...(options.length > 0 ? ['--'] : []), ...options].join(
    ' ',
  )
}

function parsed(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        limits: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        only: { type: 'string' },
        rounds: { type: 'string' },
        directory: { type: 'string', default: '.' },
        json: { type: 'string' },
        plots: { type: 'string' },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
