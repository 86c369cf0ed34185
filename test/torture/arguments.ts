import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'

export const HELP = `npm run torture -- [options]

Runs brokers as processes of their own on a real disk, under the load of real clients: idempotent and named producers, producers
that race for dedup ids, conditional appends, atomic writes, consumer groups that copy, work queues, retention by size and until
acknowledged.
Kills them by SIGKILL at any time and at every failpoint, starts them again, and at the end of each round of 30 s reads everything
back, checks all that clients saw against every rule (test/checker), and verifies the data directory.

  --minutes N      how long brokers are killed, fractions too (default 5)
  --seed N         decides what is done and when (default: another one each time); clients and disks keep time of their own, so
                   a seed repeats a run only roughly
  --directory DIR  on the disk that is to be tortured (default: the directory for temporary files)
  --json           print the report as JSON
  --check FILE     only check a kept history again
  --help           this text

Exit codes: 0 every promise was kept, 1 one was not (the round's data, log and history are kept), 2 the arguments cannot be read.
`

export interface TortureArguments {
  readonly minutes: number
  readonly seed: number
  readonly directory: string
  readonly isJson: boolean
  readonly check: string | undefined
}

/** undefined: help is asked for. Throws an Error that says what cannot be read. */
export function tortureArguments(args: readonly string[]): TortureArguments | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      directory: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
      check: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  const minutes = Number(values.minutes)
  if (!(minutes > 0)) throw new Error(`--minutes is a number above 0, not ${values.minutes}`)
  const seed = Number(values.seed)
  if (!Number.isInteger(seed)) throw new Error(`--seed is a whole number, not ${values.seed}`)
  return { minutes, seed, directory: values.directory, isJson: values.json, check: values.check }
}
