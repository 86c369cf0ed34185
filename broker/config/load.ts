import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { checkTogether } from './check.js'
import { ConfigError } from './config-error.js'
import { readValue } from './read-value.js'
import type { BrokerConfig, BrokerOptions } from './schema.js'
import { flagOf, isSettingName, SETTING_NAMES, SETTINGS, type SettingName, variableOf } from './settings.js'
import { similarTo } from './similar.js'

/** Names the configuration file when `--config` does not. */
export const CONFIG_VARIABLE = 'MILLRACE_CONFIG'

export interface ConfigSources {
  /** What the command line says, as it was typed. */
  readonly flags?: Readonly<Partial<Record<SettingName, string>>>
  /** Path of the configuration file, as `--config` gave it. */
  readonly file?: string | undefined
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What relative paths of flags and variables start from; the process's directory when left out. */
  readonly directory?: string
}

type Values = { -readonly [Name in SettingName]?: unknown }

/**
 * Flags over environment over file over defaults. `dataDir` comes back absolute; one in the file is relative to the
 * file. Throws `ConfigError` with the first thing that is wrong.
 */
export function loadConfig({
  flags = {},
  file,
  env = {},
  directory = process.cwd(),
}: ConfigSources): BrokerConfig {
  const fromFile = readFile({ file, env, directory })
  const fromEnv = readEnvironment(env, directory)
  const fromFlags: Values = {}
  for (const name of SETTING_NAMES) {
    const raw = flags[name]
    if (raw !== undefined) fromFlags[name] = read({ name, raw, source: `flag ${flagOf(name)}`, directory })
  }
  return complete({ ...fromFile, ...fromEnv, ...fromFlags }, directory)
}

/** The options of an embedding program, checked and completed. Throws `ConfigError`. */
export function resolveOptions({ log: _log, ...options }: BrokerOptions = {}): BrokerConfig {
  const directory = process.cwd()
  const values: Values = {}
  for (const [name, raw] of Object.entries(options)) {
    if (raw === undefined) continue
    if (!isSettingName(name)) throw unknownName(`option ${name}`, name, SETTING_NAMES)
    values[name] = read({ name, raw, source: `option ${name}`, directory })
  }
  return complete(values, directory)
}

function complete(values: Values, directory: string): BrokerConfig {
  const config: Values = { ...values }
  for (const name of SETTING_NAMES) config[name] ??= SETTINGS[name].default
  config.dataDir = resolve(directory, config.dataDir as string)
  const complete = config as BrokerConfig
  checkTogether(complete)
  return complete
}

function read(entry: { name: SettingName; raw: unknown; source: string; directory: string }): unknown {
  const { name, raw, source, directory } = entry
  const setting = SETTINGS[name]
  const reading = readValue(setting, raw)
  if ('fault' in reading) throw new ConfigError(`${source}: ${JSON.stringify(raw)} ${reading.fault}`)
  return setting.kind === 'path' ? resolve(directory, reading.value as string) : reading.value
}

/** A variable set to nothing counts as unset, as in shells' `${NAME:-default}`. */
function readEnvironment(env: Readonly<Record<string, string | undefined>>, directory: string): Values {
  const values: Values = {}
  const variables = new Map(SETTING_NAMES.map((name) => [variableOf(name), name]))
  for (const [variable, raw] of Object.entries(env)) {
    if (!variable.startsWith('MILLRACE_') || raw === undefined || raw === '') continue
    if (isServiceLink(variable, raw)) continue
    const name = variables.get(variable)
    if (name !== undefined) {
      values[name] = read({ name, raw, source: `environment variable ${variable}`, directory })
    } else if (variable !== CONFIG_VARIABLE && similarTo(variable, [...variables.keys()]) !== undefined) {
      // Other tools may have variables of their own here, but a misspelt setting must not be passed over.
      throw unknownName(`environment variable ${variable}`, variable, [...variables.keys()])
    }
  }
  return values
}

/** Kubernetes sets MILLRACE_PORT=tcp://… and the like in every pod beside a service that is named millrace. */
function isServiceLink(variable: string, raw: string): boolean {
  if (variable === 'MILLRACE_PORT') return raw.includes('://')
  return /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$/.test(variable)
}

function readFile(from: {
  file?: string | undefined
  env: ConfigSources['env'] & object
  directory: string
}): Values {
  const named = from.file ?? (from.env[CONFIG_VARIABLE] || undefined)
  if (named === undefined) return {}
  const path = resolve(from.directory, named)
  const values: Values = {}
  for (const [name, raw] of Object.entries(parseFile(path))) {
    if (!isSettingName(name)) throw unknownName(`file ${path}: ${JSON.stringify(name)}`, name, SETTING_NAMES)
    values[name] = read({ name, raw, source: `file ${path}: ${name}`, directory: dirname(path) })
  }
  return values
}

function parseFile(path: string): object {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`file ${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  let content: unknown
  try {
    content = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (error) {
    throw new ConfigError(`file ${path}: is not JSON: ${(error as Error).message.replace(/\s+/g, ' ')}`)
  }
  if (typeof content === 'object' && content !== null && !Array.isArray(content)) return content
  throw new ConfigError(`file ${path}: must hold one JSON object with the settings`)
}

function unknownName(source: string, name: string, known: readonly string[]): ConfigError {
  const near = similarTo(name, known)
  const advice = near === undefined ? 'docs/CONFIGURATION.md lists them' : `did you mean ${near}?`
  return new ConfigError(`${source} is not a setting; ${advice}`)
}
