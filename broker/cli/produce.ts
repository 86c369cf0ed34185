import { type Command, Option } from 'commander'
import { countFrom, duration, encodingOption, separator } from './arguments.js'
import type { ProduceOptions } from './produce-lines.js'

export function declareProduce(program: Command): void {
  program
    .command('produce')
    .description('Write standard input to a topic, a record a line.')
    .argument('<topic>', 'created when missing')
    .option(
      '--partitions <n>',
      'partitions of the topic if it is created (default: 1, which keeps the order)',
      countFrom(1),
    )
    .addOption(
      encodingOption('--encoding <encoding>', 'encoding of the topic if it is created (default: text)'),
    )
    .option(
      '--key-separator <text>',
      'split each line at its first <text> into key and value; \\t is a tab',
      separator,
    )
    .addOption(timeoutOption())
    .addHelpText('after', NOTES)
    .action(async (topic: string, _options, self: Command) => {
      const { produceLines } = await import('./produce-lines.js')
      await produceLines(topic, self.optsWithGlobals<ProduceOptions>())
    })
}

const timeoutOption = (): Option =>
  new Option('--timeout <time>', 'how long to keep trying while the broker is away')
    .argParser(duration)
    .default(600_000, '10m')

const NOTES = `
A newline ends a record and is not part of it; everything else is kept, byte for byte: empty lines, carriage returns,
any length up to the broker's record limit. A last line without a newline is a record too ("consume" prints one after
it, as after every value). Text topics hold UTF-8 only: for other bytes use --encoding bytes. In json and msgpack
topics each line is a JSON value.

Every record is on the broker's disk before it counts. If the broker restarts in the middle, nothing is lost and
nothing is written twice. At the end, standard error has "produced N records, B bytes in S s" (B: of the values).

Examples:
  millrace produce logs < access.log
  tail -F app.log | millrace produce logs
  millrace produce users --partitions 8 --key-separator : < users.txt
  millrace produce blobs --encoding bytes < latin1.txt`
