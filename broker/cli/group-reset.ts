import type { Command } from 'commander'
import { countFrom, offsetOrPosition, type Position } from './arguments.js'
import { usageFailure } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { print } from './output.js'
import { withClient } from './session.js'
import { columns, NONE } from './table.js'

interface ResetOptions extends GlobalOptions {
  readonly to: Position | { readonly offset: number }
  readonly topic?: string
  readonly partition?: readonly number[]
  readonly create?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

const aPartition = countFrom(0)

export function declareReset(group: Command): void {
  group
    .command('reset')
    .description('Move the cursors of a group that has no members.')
    .argument('<group>')
    .requiredOption('--to <position>', 'earliest, latest, an offset, or a time', offsetOrPosition)
    .option('--topic <name>', 'in this topic only; needed with an offset')
    .option(
      '--partition <n>',
      'in this partition only; may be given again',
      (text, before: readonly number[] = []) => [...before, aPartition(text)],
    )
    .option('--create', 'make the cursors, and the consumer group, that are not there; needs --topic')
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--json', 'print one JSON object a line')
    .addHelpText('after', NOTES)
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<ResetOptions>()
      const { to, topic, partition, create = false, dryRun = false } = options
      if (topic === undefined) refuseWithoutTopic(options)
      const moved = await withClient(options, (client) =>
        client.groups.reset(name, {
          to,
          create,
          dryRun,
          ...(topic === undefined ? {} : { topic }),
          ...(partition === undefined ? {} : { partitions: partition }),
        }),
      )
      if (options.json) {
        await print(moved.map((move) => `${JSON.stringify(move)}\n`).join(''))
        return
      }
      const rows = moved.map((move) => [move.topic, move.partition, move.from ?? NONE, move.to])
      const table = columns([['TOPIC', 'PARTITION', 'FROM', 'TO'], ...rows])
      await print(dryRun ? `${table}nothing was changed\n` : table)
    })
}

function refuseWithoutTopic({ to, partition, create }: ResetOptions): void {
  if (partition !== undefined)
    throw usageFailure('--partition needs --topic: partitions count within a topic')
  if (typeof to === 'object' && 'offset' in to) {
    throw usageFailure('--to with an offset needs --topic: offsets count within a partition')
  }
  if (create) throw usageFailure('--create needs --topic: nothing else says where')
}

const NOTES = `
A time means the first record that the broker stored then or later; one without a zone is in this machine's. An
offset that a partition does not have is refused. A work queue forgets which of its jobs wait for a retry. Dead letters
stay where they are.

Examples:
  millrace group reset billing --to earliest --dry-run
  millrace group reset billing --to 2026-11-01T12:00:00Z
  millrace group reset billing --topic orders --partition 0 --partition 3 --to 4711
  millrace group reset audit --topic orders --to latest --create`
