import { type Command, Option } from 'commander'
import { countFrom, offsetOrEnd } from './arguments.js'
import { isConfirmed } from './confirm.js'
import { count } from './count.js'
import type { GlobalOptions } from './global-options.js'
import { print } from './output.js'
import { withClient } from './session.js'

interface DeleteBeforeOptions extends GlobalOptions {
  readonly partition: number
  readonly offset: number | 'end'
  readonly yes?: boolean
}

export function declareDeleteBefore(topic: Command): void {
  topic
    .command('delete-before')
    .description('Delete the records of a partition below an offset. There is no way back.')
    .argument('<name>')
    .addOption(
      new Option('--partition <p>', 'of this partition').argParser(countFrom(0)).makeOptionMandatory(),
    )
    .addOption(
      new Option('--offset <n>', 'the first offset that stays, or end: none stays')
        .argParser(offsetOrEnd)
        .makeOptionMandatory(),
    )
    .option('-y, --yes', 'do not ask; needed where there is no terminal to ask on')
    .addHelpText(
      'after',
      `
The records are out of reach at once; their bytes are given back chunk by chunk, a little later.

Examples:
  millrace topic delete-before logs --partition 0 --offset 4711
  millrace topic delete-before logs --partition 0 --offset end --yes`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<DeleteBeforeOptions>()
      const { partition, offset } = options
      const range = offset === 'end' ? 'all records' : `the records below offset ${offset}`
      const what = `${range} of topic ${name} partition ${partition}`
      if (!options.yes && !(await isConfirmed(`Delete ${what}?`, `deleting ${what}`))) {
        await print(`kept ${what}\n`)
        return
      }
      const { startOffset, records } = await withClient(options, (client) =>
        client.deleteBefore(name, partition, offset),
      )
      const place = `topic ${name} partition ${partition}`
      await print(`deleted ${count(records, 'record')}: ${place} starts at offset ${startOffset} now\n`)
    })
}
