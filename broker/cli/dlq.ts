import type { Command } from 'commander'
import { countFrom } from './arguments.js'
import { isConfirmed } from './confirm.js'
import { count } from './count.js'
import type { DlqOptions } from './dlq-letters.js'
import type { GlobalOptions } from './global-options.js'
import { print } from './output.js'
import { withClient } from './session.js'

export function declareDlq(program: Command): void {
  const dlq = program
    .command('dlq')
    .description('Look at the records that a group gave up, give them to it once more, or delete them.')
  declareList(dlq)
  declareReplay(dlq)
  declarePurge(dlq)
}

function declareList(dlq: Command): void {
  dlq
    .command('list')
    .description('Print the dead letters of a group, oldest first, one a line.')
    .argument('<topic>', 'where the records were first')
    .argument('<group>')
    .option('--max <n>', 'so many at most', countFrom(1))
    .option('--json', 'print them whole, one JSON object a line')
    .addHelpText(
      'after',
      `
OFFSET is the place among the dead letters, ORIGIN where the record was first: topic/partition@offset. TRIES counts the
deliveries. Long keys, values and reasons are cut; --json has them whole.

Examples:
  millrace dlq list orders billing
  millrace dlq list orders billing --json | jq -r .reason | sort | uniq -c`,
    )
    .action(async (topic: string, group: string, _options, self: Command) => {
      const { listLetters } = await import('./dlq-letters.js')
      await listLetters({ topic, group }, self.optsWithGlobals<DlqOptions>())
    })
}

function declareReplay(dlq: Command): void {
  dlq
    .command('replay')
    .description('Give dead letters to their group once more, oldest first, and to no other group.')
    .argument('<topic>', 'where the records were first')
    .argument('<group>')
    .option('--max <n>', 'so many at most (default: those that are there now)', countFrom(1))
    .addHelpText(
      'after',
      `
Whoever consumes the topic in that group gets them, now or when it comes back. One that fails again becomes a dead
letter again, and its tries go on counting.

Examples:
  millrace dlq replay orders billing
  millrace dlq replay orders billing --max 1`,
    )
    .action(async (topic: string, group: string, _options, self: Command) => {
      const { replayLetters } = await import('./dlq-letters.js')
      await replayLetters({ topic, group }, self.optsWithGlobals<DlqOptions>())
    })
}

interface PurgeOptions extends GlobalOptions {
  readonly yes?: boolean
}

function declarePurge(dlq: Command): void {
  dlq
    .command('purge')
    .description('Delete the dead letters of a group. There is no way back.')
    .argument('<topic>', 'where the records were first')
    .argument('<group>')
    .option('-y, --yes', 'do not ask; needed where there is no terminal to ask on')
    .addHelpText(
      'after',
      '\nExamples:\n  millrace dlq purge orders billing\n  millrace dlq purge orders billing --yes',
    )
    .action(async (topic: string, group: string, _options, self: Command) => {
      const options = self.optsWithGlobals<PurgeOptions>()
      const what = `the dead letters of group ${group} in topic ${topic}`
      if (!options.yes && !(await isConfirmed(`Delete ${what}?`, `deleting ${what}`))) {
        await print(`kept ${what}\n`)
        return
      }
      const { records } = await withClient(options, (client) => client.deadLetters.purge(topic, group))
      await print(`deleted ${count(records, 'dead letter')}\n`)
    })
}
