import { isatty } from 'node:tty'
import { type Command, Option } from 'commander'
import { loadConfig } from '../config/load.js'
import type { BrokerConfig } from '../config/schema.js'
import { flagOf, SETTING_GROUPS, SETTINGS, type SettingName } from '../config/settings.js'
import { formatValue } from '../config/values.js'
import type { GlobalOptions } from './global-options.js'

type Flags = Partial<Record<SettingName, string>> & { readonly config?: string } & GlobalOptions

export function declareStart(program: Command): void {
  const command = program
    .command('start')
    .description('Start a broker and run until SIGTERM or SIGINT, which finish what is under way first.')
    .option('--config <file>', 'JSON file with settings (default: $MILLRACE_CONFIG)')
  for (const { title, names } of SETTING_GROUPS) {
    for (const name of names) command.addOption(optionOf(name).helpGroup(`${title}:`))
  }
  command.addHelpText('after', NOTES).action(async (_flags, self: Command) => {
    const { config: file, ...flags } = self.optsWithGlobals<Flags>()
    const config = loadConfig({ flags, file, env: process.env })
    await serve(config, { verbose: flags.verbose === true })
  })
}

const PLACEHOLDERS = {
  bytes: '<size>',
  duration: '<time>',
  count: '<n>',
  port: '<port>',
  path: '<path>',
  text: '<address>',
  origins: '<list>',
  hosts: '<list>',
  level: '<level>',
} as const

function optionOf(name: SettingName): Option {
  const { kind, about } = SETTINGS[name]
  const preset = formatValue(kind, SETTINGS[name].default)
  return new Option(
    `${flagOf(name)} ${PLACEHOLDERS[kind]}`,
    `${about.replace(/\.$/, '')} (default: ${preset})`,
  )
}

const NOTES = `
Sizes are bytes or 64MiB, times milliseconds or 500ms, 30s, 10m. Each option can also be an environment variable
(--wal-bytes-max is MILLRACE_WAL_BYTES_MAX) or a key of the configuration file (walBytesMax); flags win over
variables, variables over the file. docs/CONFIGURATION.md says what is allowed.

Examples:
  millrace start
  millrace start --data-dir /var/lib/millrace --port 4700
  millrace start --config millrace.json --log-level debug
  MILLRACE_DATA_DIR=/srv/log millrace start`

/** Runs a broker until a signal or a failure ends it; ends the process. */
async function serve(config: BrokerConfig, { verbose }: { verbose: boolean }): Promise<void> {
  const [{ openLog }, { Service }] = await Promise.all([import('../log.js'), import('./service.js')])
  const log = await openLog({ level: config.logLevel, pretty: isatty(1) })
  await new Service({ config, log, verbose }).run()
}
