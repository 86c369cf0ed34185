import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { countFrom, encodingOption } from './arguments.js'
import { usageFailure } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { Output } from './output.js'
import { withClient } from './session.js'
import { columns } from './table.js'
import { topicAs } from './topic-face.js'

export function declareTopic(program: Command): void {
  const topic = program.command('topic').description('Create, list, describe and delete topics.')
  declareCreate(topic)
  declareList(topic)
  declareDescribe(topic)
  declareDelete(topic)
}

interface CreateOptions extends GlobalOptions {
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly ifMissing?: boolean
}

function declareCreate(topic: Command): void {
  topic
    .command('create')
    .description('Create a topic. Its partitions and encodings cannot be changed later.')
    .argument('<name>', 'letters, digits, ".", "_" and "-"')
    .option('--partitions <n>', 'partitions; records keep their order within one', countFrom(1), 1)
    .addOption(encodingOption('--key-encoding <encoding>', 'how keys are written').default('text'))
    .addOption(encodingOption('--value-encoding <encoding>', 'how values are written').default('text'))
    .option('--if-missing', 'succeed also when the same topic exists')
    .addHelpText(
      'after',
      `
Examples:
  millrace topic create logs
  millrace topic create orders --partitions 8 --value-encoding json --if-missing`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<CreateOptions>()
      const { partitions, keyEncoding, valueEncoding } = options
      const definition = await topicAs({ name, keyEncoding, valueEncoding })
      const created = await withClient(options, async (client) => {
        if (options.ifMissing) return (await client.ensureTopic(definition, { partitions })).created
        await client.createTopic(definition, { partitions })
        return true
      })
      await print(created ? `created topic ${name}\n` : `topic ${name} exists\n`)
    })
}

interface ListOptions extends GlobalOptions {
  readonly json?: boolean
}

function declareList(topic: Command): void {
  topic
    .command('list')
    .description('List the topics by name.')
    .option('--json', 'print one JSON object a line')
    .addHelpText('after', '\nExamples:\n  millrace topic list\n  millrace topic list --json | jq -r .name')
    .action(async (_options, self: Command) => {
      const options = self.optsWithGlobals<ListOptions>()
      const topics = await withClient(options, (client) => client.listTopics())
      if (options.json) {
        await print(topics.map((info) => `${JSON.stringify(withIsoTime(info))}\n`).join(''))
      } else if (topics.length > 0) {
        const rows = topics.map((t) => [
          t.name,
          t.partitions,
          t.keyEncoding,
          t.valueEncoding,
          isoTime(t.createdAt),
        ])
        await print(columns([['NAME', 'PARTITIONS', 'KEY', 'VALUE', 'CREATED'], ...rows]))
      }
    })
}

function declareDescribe(topic: Command): void {
  topic
    .command('describe')
    .description('Show a topic: its encodings, and the offsets of each partition.')
    .argument('<name>')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Records from START up to, but without, END can be read; END is the offset that the next record gets.

Examples:
  millrace topic describe logs
  millrace topic describe logs --json | jq '.partitions[0].endOffset'`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<ListOptions>()
      const info = await withClient(options, (client) => client.describeTopic(name))
      if (options.json) {
        await print(`${JSON.stringify(withIsoTime(info))}\n`)
        return
      }
      const rows = info.partitions.map((r) => [
        r.partition,
        r.startOffset,
        r.endOffset,
        r.endOffset - r.startOffset,
      ])
      await print(
        `topic ${info.name}: id ${info.topicId}, key ${info.keyEncoding}, value ${info.valueEncoding}, ` +
          `created ${isoTime(info.createdAt)}\n${columns([['PARTITION', 'START', 'END', 'OFFSETS'], ...rows])}`,
      )
    })
}

interface DeleteOptions extends GlobalOptions {
  readonly yes?: boolean
  readonly ifExists?: boolean
}

function declareDelete(topic: Command): void {
  topic
    .command('delete')
    .description('Delete a topic and all its records. There is no way back.')
    .argument('<name>')
    .option('-y, --yes', 'do not ask; needed where there is no terminal to ask on')
    .option('--if-exists', 'succeed also when there is no such topic')
    .addHelpText('after', '\nExamples:\n  millrace topic delete logs\n  millrace topic delete logs --yes')
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<DeleteOptions>()
      if (!options.yes && !(await isConfirmed(name))) {
        await print(`topic ${name} is kept\n`)
        return
      }
      const deleted = await withClient(options, async (client) => {
        try {
          await client.deleteTopic(name)
          return true
        } catch (error) {
          if (options.ifExists && error instanceof MillraceError && error.code === 'UNKNOWN_TOPIC')
            return false
          throw error
        }
      })
      await print(deleted ? `deleted topic ${name}\n` : `there is no topic ${name}\n`)
    })
}

async function isConfirmed(name: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw usageFailure(`deleting ${name} needs --yes: stdin is no terminal, so there is nobody to ask`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`Delete topic ${name} and all its records? [y/N] `)
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    terminal.close()
  }
}

const isoTime = (time: number): string => new Date(time).toISOString()

const withIsoTime = <T extends { readonly createdAt: number }>(info: T) => ({
  ...info,
  createdAt: isoTime(info.createdAt),
})

async function print(text: string): Promise<void> {
  const output = new Output()
  await output.write(text)
  await output.flush()
}
