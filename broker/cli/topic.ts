import type { Command } from 'commander'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { countFrom, encodingOption } from './arguments.js'
import { isConfirmed } from './confirm.js'
import type { GlobalOptions } from './global-options.js'
import { print } from './output.js'
import { withClient } from './session.js'
import { columns } from './table.js'
import { declareAlter } from './topic-alter.js'
import { declareDeleteBefore } from './topic-delete-before.js'
import { topicAs } from './topic-face.js'
import {
  declareTopicOptions,
  describeOptions,
  type TopicOptionFlags,
  topicSettingsOf,
} from './topic-options.js'

export function declareTopic(program: Command): void {
  const topic = program.command('topic').description('Create, list, describe, alter and delete topics.')
  declareCreate(topic)
  declareList(topic)
  declareDescribe(topic)
  declareAlter(topic)
  declareDelete(topic)
  declareDeleteBefore(topic)
}

interface CreateOptions extends GlobalOptions, TopicOptionFlags {
  readonly partitions: number
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  readonly ifMissing?: boolean
}

function declareCreate(topic: Command): void {
  const create = topic
    .command('create')
    .description('Create a topic. Its partitions and encodings cannot be changed later.')
    .argument('<name>', 'letters, digits, ".", "_" and "-"')
    .option('--partitions <n>', 'partitions; records keep their order within one', countFrom(1), 1)
    .addOption(encodingOption('--key-encoding <encoding>', 'how keys are written').default('text'))
    .addOption(encodingOption('--value-encoding <encoding>', 'how values are written').default('text'))
    .option('--if-missing', 'succeed also when the same topic exists')
  declareTopicOptions(create, { clearable: false })
    .addHelpText(
      'after',
      `
Examples:
  millrace topic create logs
  millrace topic create orders --partitions 8 --value-encoding json --if-missing
  millrace topic create mails --until-acked --max-age 30d`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<CreateOptions>()
      const { partitions, keyEncoding, valueEncoding } = options
      const definition = await topicAs({ name, keyEncoding, valueEncoding })
      const settings = { partitions, ...topicSettingsOf(options) }
      const created = await withClient(options, async (client) => {
        if (options.ifMissing) return (await client.ensureTopic(definition, settings)).created
        await client.createTopic(definition, settings)
        return true
      })
      await print(created ? `created topic ${name}\n` : `topic ${name} exists\n`)
    })
}

interface JsonOptions extends GlobalOptions {
  readonly json?: boolean
}

interface ListOptions extends JsonOptions {
  readonly internal?: boolean
}

function declareList(topic: Command): void {
  topic
    .command('list')
    .description('List the topics by name.')
    .option('--internal', "also the broker's own topics")
    .option('--json', 'print one JSON object a line')
    .addHelpText('after', '\nExamples:\n  millrace topic list\n  millrace topic list --json | jq -r .name')
    .action(async (_options, self: Command) => {
      const options = self.optsWithGlobals<ListOptions>()
      const all = await withClient(options, (client) => client.listTopics())
      const topics = options.internal ? all : all.filter(({ internal }) => !internal)
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
    .description('Show a topic: its encodings and options, and the offsets of each partition.')
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
      const options = self.optsWithGlobals<JsonOptions>()
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
          `created ${isoTime(info.createdAt)}\n${describeOptions(info)}\n${columns([['PARTITION', 'START', 'END', 'OFFSETS'], ...rows])}`,
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
      if (
        !options.yes &&
        !(await isConfirmed(`Delete topic ${name} and all its records?`, `deleting ${name}`))
      ) {
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

const isoTime = (time: number): string => new Date(time).toISOString()

const withIsoTime = <T extends { readonly createdAt: number }>(info: T) => ({
  ...info,
  createdAt: isoTime(info.createdAt),
})
