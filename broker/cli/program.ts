import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { declareConsume } from './consume.js'
import { declareDlq } from './dlq.js'
import { describeFailure, EXIT, exitCodeOf, traceOf } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { declareGroup } from './group.js'
import { OutputClosed, tolerateLostReaders } from './output.js'
import { declareProduce } from './produce.js'
import { declareRepair } from './repair.js'
import { declareStart } from './start.js'
import { declareTopic } from './topic.js'
import { declareVerify } from './verify.js'

/**
 * Runs one command line (without node and script). Resolves with the exit code; never rejects. Commands load what is
 * heavy (the client, the broker) when they run, so that `--help` answers at once.
 */
export async function run(argv: readonly string[]): Promise<number> {
  const program = createProgram()
  try {
    await program.parseAsync(argv, { from: 'user' })
    return EXIT.done
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
    // As head and grep -q do to every other command: they have what they wanted.
    if (error instanceof OutputClosed) return EXIT.done
    process.stderr.write(`millrace: ${describeFailure(error)}\n`)
    if (program.opts<GlobalOptions>().verbose) process.stderr.write(`${traceOf(error)}\n`)
    return exitCodeOf(error)
  }
}

export function createProgram(): Command {
  const program = new Command('millrace')
    .description('A durable event-log broker: start one, and work with its topics and groups.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--url <url>', 'broker to talk to (default: $MILLRACE_URL, else ws://127.0.0.1:4600)')
    .option('--verbose', 'print stack traces of errors')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut(text) {
        tolerateLostReaders()
        process.stdout.write(text)
      },
      outputError: (text, write) => write(`millrace: ${text.replace(/^error: /, '').replace(/\n\(/, ' (')}`),
    })
    .showSuggestionAfterError()
    .exitOverride()
    .hook('preAction', (_program, command) => {
      // A broker writes its log to the bare descriptor, which Node's stream would make non-blocking.
      if (command.name() !== 'start') tolerateLostReaders()
    })
  declareStart(program)
  declareTopic(program)
  declareProduce(program)
  declareConsume(program)
  declareGroup(program)
  declareDlq(program)
  declareVerify(program)
  declareRepair(program)
  program.addHelpText('after', EXAMPLES)
  return program
}

const EXAMPLES = `
Examples:
  millrace start                                       a broker on ws://127.0.0.1:4600, data in ./millrace-data
  millrace produce logs < access.log                   a record a line
  millrace consume logs --exit-at-end > copy.log       the same lines back
  millrace topic describe logs
  millrace group describe billing                      how far behind a consumer group is

Exit codes: 0 done, 1 failed, 2 the command line or configuration is wrong.`

function version(): string {
  const manifest: unknown = createRequire(import.meta.url)('millrace/package.json')
  return (manifest as { version: string }).version
}
