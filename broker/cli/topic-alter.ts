import type { Command } from 'commander'
import { usageFailure } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { print } from './output.js'
import { withClient } from './session.js'
import {
  declareTopicOptions,
  describeOptions,
  type TopicOptionFlags,
  topicSettingsOf,
} from './topic-options.js'

export function declareAlter(topic: Command): void {
  const alter = topic
    .command('alter')
    .description('Change what a topic keeps, and for how long. What is not named stays as it is.')
    .argument('<name>')
  declareTopicOptions(alter, { clearable: true })
    .addHelpText(
      'after',
      `
Examples:
  millrace topic alter logs --max-age 7d --max-bytes 10GiB
  millrace topic alter mails --until-acked --cursor-idle 3d --max-lag-bytes 1GiB --on-lag drop
  millrace topic alter logs --no-max-bytes`,
    )
    .action(async (name: string, _options, self: Command) => {
      const options = self.optsWithGlobals<GlobalOptions & TopicOptionFlags>()
      const settings = topicSettingsOf(options)
      if (Object.keys(settings).length === 0) {
        throw usageFailure('nothing to change: name an option, such as --max-age 7d')
      }
      const altered = await withClient(options, (client) => client.alterTopic(name, settings))
      await print(`altered topic ${name}: ${describeOptions(altered)}\n`)
    })
}
