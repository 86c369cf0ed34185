import type { Command } from 'commander'
import type { GroupDescription } from '../../client/index.js'
import { isConfirmed } from './confirm.js'
import type { GlobalOptions } from './global-options.js'
import { describeGroup } from './group-report.js'
import { declareReset } from './group-reset.js'
import { print } from './output.js'
import { withClient } from './session.js'
import { columns } from './table.js'

export function declareGroup(program: Command): void {
  const group = program
    .command('group')
    .description('See how far consumer groups and work queues are, move their cursors, delete them.')
  declareList(group)
  declareDescribe(group)
  declareReset(group)
  declareDelete(group)
}

interface JsonOptions extends GlobalOptions {
  readonly json?: boolean
}

function declareList(group: Command): void {
  group
    .command('list')
    .description('List the groups by name, with how many records they are behind.')
    .option('--json', 'print one JSON object a line')
    .addHelpText(
      'after',
      `
LAG is what the group has not acknowledged, over all its topics.

Examples:
  millrace group list
  millrace group list --json | jq -r 'select(.lagRecords > 1000) | .name'`,
    )
    .action(async (_options, self: Command) => {
      const options = self.optsWithGlobals<JsonOptions>()
      const groups = await withClient(options, (client) => client.groups.list())
      if (options.json) {
        await print(groups.map((group) => `${JSON.stringify(group)}\n`).join(''))
      } else if (groups.length > 0) {
        const rows = groups.map((g) => [g.name, g.kind, g.members, g.topics, g.lagRecords])
        await print(columns([['NAME', 'KIND', 'MEMBERS', 'TOPICS', 'LAG'], ...rows]))
      }
    })
}

interface DescribeOptions extends JsonOptions {
  readonly topic?: string
}

function declareDescribe(group: Command): void {
  group
    .command('describe')
    .description('Show a group: where it is in each partition, how far behind, and who reads it.')
    .argument('<group>')
    .option('--topic <name>', 'this topic only')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
CURSOR is the offset that the group reads next once all it was given is acknowledged. LAG, BYTES and SECONDS are what is
between it and END; SECONDS is the age of the oldest record that waits. A work queue's CURSOR is its first job that
is not done; LEASED jobs are with workers, RETRY jobs came back and wait to be delivered again.

Examples:
  millrace group describe billing
  millrace group describe billing --topic orders
  millrace group describe billing --json | jq '[.partitions[].lag.seconds] | max'`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<DescribeOptions>()
      const { topic } = options
      const described: GroupDescription = await withClient(options, (client) =>
        client.groups.describe(name, topic === undefined ? {} : { topic }),
      )
      await print(options.json ? `${JSON.stringify(described)}\n` : describeGroup(described))
    })
}

interface DeleteOptions extends GlobalOptions {
  readonly topic?: string
  readonly yes?: boolean
}

function declareDelete(group: Command): void {
  group
    .command('delete')
    .description('Delete a group that has no members, with its cursors. There is no way back.')
    .argument('<group>')
    .option('--topic <name>', 'only its cursors of this topic')
    .option('-y, --yes', 'do not ask; needed where there is no terminal to ask on')
    .addHelpText(
      'after',
      `
The records of its topics and its dead letters stay. A consumer that comes later under the same name begins anew.

Examples:
  millrace group delete billing
  millrace group delete billing --topic refunds --yes`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<DeleteOptions>()
      const { topic } = options
      const what = topic === undefined ? `group ${name}` : `the cursors of group ${name} in topic ${topic}`
      if (!options.yes && !(await isConfirmed(`Delete ${what}?`, `deleting ${what}`))) {
        await print(`kept ${what}\n`)
        return
      }
      await withClient(options, (client) => client.groups.delete(name, topic === undefined ? {} : { topic }))
      await print(`deleted ${what}\n`)
    })
}
