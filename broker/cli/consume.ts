import type { Command } from 'commander'
import { countFrom, position, separator } from './arguments.js'
import type { ConsumeOptions } from './consume-records.js'
import { usageFailure } from './failure.js'

export function declareConsume(program: Command): void {
  program
    .command('consume')
    .description('Print the records of a topic, a value a line, and follow it until interrupted.')
    .argument('<topic>')
    .option(
      '--from <position>',
      'earliest, latest, or a time such as 2026-11-01T12:00:00Z (default: earliest)',
      position,
    )
    .option('--partition <p>', 'this partition only', countFrom(0))
    .option('--offset <n>', 'start at this offset; needs --partition', countFrom(0))
    .option('--group <name>', 'as a member of this group: go on at its cursor, acknowledge what was printed')
    .option('--exit-at-end', 'stop at what was the end when the command started')
    .option('--count <n>', 'stop after so many records', countFrom(1))
    .option('--json', 'print whole records, one JSON object a line')
    .option('--key-separator <text>', 'print key and <text> before each value; \\t is a tab', separator)
    .addHelpText('after', NOTES)
    .action(async (topic: string, _options, self: Command) => {
      const options = self.optsWithGlobals<ConsumeOptions>()
      if (options.offset !== undefined && options.partition === undefined) {
        throw usageFailure('--offset needs --partition: offsets count within a partition')
      }
      if (options.offset !== undefined && options.from !== undefined) {
        throw usageFailure('--offset and --from both say where to start')
      }
      if (options.group !== undefined) refuseOwnPlace(options)
      if (options.json && options.keySeparator !== undefined) {
        throw usageFailure('--json prints the key already: leave out --key-separator')
      }
      const { consumeRecords } = await import('./consume-records.js')
      await consumeRecords(topic, options)
    })
}

/** A member of a group reads what the broker gives it, from where the group is. */
function refuseOwnPlace({ partition, from }: ConsumeOptions): void {
  if (partition !== undefined) {
    throw usageFailure('--group and --partition: the broker says which partitions a member of a group gets')
  }
  if (from instanceof Date) {
    throw usageFailure(
      '--from with --group is earliest or latest, for partitions without a cursor; "millrace group reset" moves cursors',
    )
  }
}

const NOTES = `
Each value is followed by a newline and is otherwise printed as it was written, byte for byte; a record without a value
is null in json and msgpack topics, else an empty line. Order is kept within a partition. Values of msgpack topics are printed as JSON. With --json, bytes
are {"base64":"..."} and times are ISO 8601.

A time without a zone is in this machine's.

With --group the command is a member of a consumer group: the members share the partitions, and each goes on where the
group is; --from says where to begin in partitions in which the group has no cursor yet. What has left the process is
acknowledged, so after a crash a record may be printed again, but none is left out. --exit-at-end then stops when the
whole group has got to what was the end.

The command goes on by itself when the broker restarts: no record is missed or printed twice.

Examples:
  millrace consume logs --exit-at-end > copy.log
  millrace consume logs --from latest
  millrace consume logs --from 2026-11-01T12:00:00Z --count 10 --json
  millrace consume logs --partition 0 --offset 4711 --count 1
  millrace consume logs --group archive >> archive.log`
