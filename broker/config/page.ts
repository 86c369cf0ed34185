import type { BrokerConfig } from './schema.js'
import { LOG_LEVELS } from './schema.js'
import { flagOf, SETTING_GROUPS, SETTINGS, type SettingName, variableOf } from './settings.js'
import { formatValue } from './values.js'

const HEAD = `# Configuration

<!-- Written from broker/config/settings.ts: npx vitest run test/broker/config/page.test.ts -u -->

Every setting has a default that suits a small server, and can be given in four places. The first that has it wins:

1. a flag of \`millrace start\`: \`--wal-segment-bytes 128MiB\`
2. an environment variable: \`MILLRACE_WAL_SEGMENT_BYTES=128MiB\`
3. a JSON file named by \`--config\` or \`MILLRACE_CONFIG\`: \`{ "walSegmentBytes": "128MiB" }\`
4. the default

A program that embeds a broker passes the same names: \`startBroker({ walSegmentBytes: 128 * 1024 * 1024 })\`.

- Sizes are bytes, or \`64MiB\`, \`64mb\`, \`64m\`; the units are powers of 1,024 however they are spelt.
- Durations are milliseconds, or \`500ms\`, \`30s\`, \`10m\`, \`2h\`, \`7d\`.
- A list is separated by commas in a flag or variable, and an array in the file.
- A relative \`dataDir\` in the file starts from the file's directory, elsewhere from the current one.
- An empty variable counts as unset. A name that is no setting, or a value that is not allowed, is an error: one line
  says where it was set and what is allowed. Settings that contradict each other are an error too.
- The \`millrace\` command gives Node's thread pool, which file access shares, at least 8 threads before it starts. A
  program that embeds a broker sets \`UV_THREADPOOL_SIZE\` itself, in the environment that it is started with.
`

/** docs/CONFIGURATION.md, from the settings' table. */
export function configurationPage(): string {
  const sections = SETTING_GROUPS.map(({ title, names }) =>
    [`## ${title}`, '', ...table(names), ''].join('\n'),
  )
  return [HEAD, ...sections].join('\n')
}

function table(names: readonly SettingName[]): string[] {
  return ['| Setting | Default | Allowed | Meaning |', '|---|---|---|---|', ...names.map(row)]
}

function row(name: SettingName): string {
  const { kind, about } = SETTINGS[name]
  const spellings = [name, flagOf(name), variableOf(name)].map((text) => `\`${text}\``).join('<br>')
  return `| ${spellings} | ${formatValue(kind, SETTINGS[name].default)} | ${allowed(name)} | ${about} |`
}

function allowed(name: keyof BrokerConfig): string {
  const { kind, min, max } = SETTINGS[name]
  if (min !== undefined && max !== undefined) return `${formatValue(kind, min)} to ${formatValue(kind, max)}`
  if (kind === 'level') return LOG_LEVELS.join(', ')
  if (kind === 'hosts') return 'host names, or *'
  return kind === 'origins' ? 'origins, or *' : 'any'
}
