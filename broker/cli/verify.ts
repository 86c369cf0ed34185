import type { Command } from 'commander'
import type { DataFault, VerifyReport } from '../offline/report.js'
import { count } from './count.js'
import { CommandFailure, EXIT } from './failure.js'
import { Progress } from './progress.js'

export function declareVerify(program: Command): void {
  program
    .command('verify <data-dir>')
    .description('Check every byte of a data directory that no broker is using. Changes nothing.')
    .option('--json', 'print the whole report as JSON')
    .addHelpText('after', NOTES)
    .action(verify)
}

const NOTES = `
Exit codes: 0 nothing acknowledged is damaged (a last write that a crash cut off is said and is no damage),
1 something is: a line each says file, byte and cause, 2 this is no data directory.

Examples:
  millrace verify ./millrace-data
  millrace verify /var/lib/millrace --json | jq .faults`

async function verify(directory: string, { json }: { json?: boolean }): Promise<void> {
  const [{ verifyDirectory }, { nodeDisk }] = await Promise.all([
    import('../offline/verify.js'),
    import('../platform/node-disk.js'),
  ])
  const progress = new DirectoryProgress('verifying')
  const report = await offline(() => verifyDirectory({ disk: nodeDisk, directory, onProgress: progress.on }))
  progress.clear()
  process.stdout.write(json === true ? `${JSON.stringify(report, null, 2)}\n` : describeReport(report))
  if (report.status === 'corrupt')
    throw new CommandFailure(`${directory} is damaged: \`millrace repair\` says what can be brought back`)
}

/** Runs work on a directory; a path that is no data directory is the command line's mistake. */
export async function offline<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'NotADataDirectoryError') throw error
    throw new CommandFailure(error.message, { exitCode: EXIT.usage, cause: error })
  }
}

/** How far a read of a whole directory has come. */
export class DirectoryProgress {
  readonly #progress: Progress
  #line: string

  constructor(line: string) {
    this.#line = line
    this.#progress = new Progress(() => this.#line)
  }

  readonly on = ({ what, bytes }: { what: string; bytes: number }): void => {
    this.#line = `${what}, ${mebibytes(bytes)} read`
    this.#progress.update()
  }

  clear(): void {
    this.#progress.clear()
  }
}

export function describeReport({ status, faults, tornTail, notes, counts }: VerifyReport): string {
  const { topics, partitions, records, chunks, walGroups, bytes } = counts
  const lines = faults.map(describeFault)
  if (tornTail !== undefined) {
    const { file, byteOffset, reason } = tornTail
    lines.push(
      `torn tail: ${file} at byte ${byteOffset}: ${reason}. A crash cut off this last write, which nobody was told ` +
        'of; the next start cuts it and keeps a copy',
    )
  }
  lines.push(...notes.map((note) => `note: ${note}`))
  const verdict = {
    clean: 'clean',
    tornTail: 'clean but for a torn tail',
    corrupt: `corrupt: ${count(faults.length, 'fault')}`,
  }
  lines.push(
    `${verdict[status]}; ${count(topics, 'topic')}, ${count(partitions, 'partition')}, ${count(records, 'record')}, ` +
      `${count(chunks, 'chunk')}, ${count(walGroups, 'WAL group')}, ${mebibytes(bytes)} read`,
  )
  return `${lines.join('\n')}\n`
}

export const describeFault = ({ file, byteOffset, reason }: DataFault): string =>
  `corrupt: ${file} at byte ${byteOffset}: ${reason}`

const mebibytes = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB`
