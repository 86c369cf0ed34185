/** The options of a run, each an environment variable. One table serves k6, `--help` and the README's test. */

export interface Settings {
  readonly url: string
  readonly topic: string
  readonly group: string
  readonly partitions: number
  readonly durationMs: number
  readonly producers: number
  readonly readers: number
  readonly workers: number
  readonly connections: number
  readonly recordBytes: number
  readonly batchRecords: number
  readonly inFlight: number
  readonly recordsPerSecond: number
  readonly from: 'earliest' | 'latest'
  readonly verify: 'headers' | 'payloads'
  readonly failEvery: number
  readonly prefetch: number
  readonly topicMaxBytes: number
  readonly holdMs: number
  readonly ackP99MsMax: number
  readonly endToEndP99MsMax: number
  readonly connectP99MsMax: number
}

/** What k6 has as `__ENV`, and Node as `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>

interface Variable<T> {
  readonly name: string
  readonly fallback: T
  readonly help: string
  readonly read: (text: string) => T
}

type Variables = { readonly [Name in keyof Settings]: Variable<Settings[Name]> }

const count = (min: number, max: number) => (text: string) => {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new Error(`expected a whole number from ${min} to ${max}, got "${text}"`)
  }
  return value
}

const oneOf =
  <T extends string>(...names: readonly T[]) =>
  (text: string): T => {
    const found = names.find((name) => name === text)
    if (found === undefined) throw new Error(`expected ${names.join(' or ')}, got "${text}"`)
    return found
  }

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

function duration(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? []
  const ms = Number(amount) * (UNIT_MS[unit ?? ''] ?? Number.NaN)
  if (!(ms > 0)) throw new Error(`expected a duration such as 500ms, 30s, 10m or 2h, got "${text}"`)
  return ms
}

const durationText = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`)

function socketUrl(text: string): string {
  if (!/^wss?:\/\/[^/?#]+\/?$/.test(text))
    throw new Error(`expected ws://HOST:PORT or wss://..., got "${text}"`)
  return text.replace(/\/$/, '')
}

function name(text: string): string {
  if (text === '') throw new Error('expected a name')
  return text
}

const MANY = 1_000_000_000

export const VARIABLES: Variables = {
  url: {
    name: 'MILLRACE_URL',
    fallback: 'ws://127.0.0.1:4600',
    help: 'the broker',
    read: socketUrl,
  },
  topic: {
    name: 'MILLRACE_TOPIC',
    fallback: '',
    help: 'the topic, created if it is missing; default k6-SCENARIO',
    read: name,
  },
  group: {
    name: 'MILLRACE_GROUP',
    fallback: 'k6-workers',
    help: 'the work queue of the workers',
    read: name,
  },
  partitions: {
    name: 'MILLRACE_PARTITIONS',
    fallback: 4,
    help: 'partitions of a topic that is created',
    read: count(1, 10_000),
  },
  durationMs: {
    name: 'MILLRACE_DURATION',
    fallback: 30_000,
    help: 'how long producers send: 500ms, 30s, 10m, 2h',
    read: duration,
  },
  producers: {
    name: 'MILLRACE_PRODUCERS',
    fallback: 0,
    help: 'connections that produce, a VU each',
    read: count(0, 100_000),
  },
  readers: {
    name: 'MILLRACE_READERS',
    fallback: 0,
    help: 'connections that follow every partition, a VU each',
    read: count(0, 100_000),
  },
  workers: {
    name: 'MILLRACE_WORKERS',
    fallback: 0,
    help: 'members of the work queue, a VU each',
    read: count(0, 10_000),
  },
  connections: {
    name: 'MILLRACE_CONNECTIONS',
    fallback: 0,
    help: 'connections at a time in the connection storm, a VU each',
    read: count(0, 100_000),
  },
  recordBytes: {
    name: 'MILLRACE_RECORD_BYTES',
    fallback: 100,
    help: 'bytes of a value',
    read: count(1, 1_000_000),
  },
  batchRecords: {
    name: 'MILLRACE_BATCH_RECORDS',
    fallback: 100,
    help: 'records of a batch',
    read: count(1, 100_000),
  },
  inFlight: {
    name: 'MILLRACE_IN_FLIGHT',
    fallback: 8,
    help: 'unanswered batches of a producer, at most 16',
    read: count(1, 16),
  },
  recordsPerSecond: {
    name: 'MILLRACE_RATE',
    fallback: 0,
    help: 'records a second of each producer; 0: as fast as acks come',
    read: count(0, MANY),
  },
  from: {
    name: 'MILLRACE_FROM',
    fallback: 'latest',
    help: 'where readers and a new work queue begin: latest or earliest',
    read: oneOf('latest', 'earliest'),
  },
  verify: {
    name: 'MILLRACE_VERIFY',
    fallback: 'headers',
    help: 'what readers check by CRC: headers, or payloads too, which costs k6 much CPU',
    read: oneOf('headers', 'payloads'),
  },
  failEvery: {
    name: 'MILLRACE_FAIL_EVERY',
    fallback: 100,
    help: 'workers fail offsets that this divides, once, so that they come again; 0: none',
    read: count(0, MANY),
  },
  prefetch: {
    name: 'MILLRACE_PREFETCH',
    fallback: 500,
    help: 'jobs that a worker has room for',
    read: count(1, 10_000),
  },
  topicMaxBytes: {
    name: 'MILLRACE_TOPIC_MAX_BYTES',
    fallback: 2 ** 30,
    help: 'what a created topic keeps of each partition; 0: everything',
    read: count(0, Number.MAX_SAFE_INTEGER),
  },
  holdMs: {
    name: 'MILLRACE_HOLD',
    fallback: 100,
    help: 'how long a connection of the storm stays open',
    read: duration,
  },
  ackP99MsMax: {
    name: 'MILLRACE_ACK_P99_MS',
    fallback: 1000,
    help: 'the run fails above this',
    read: count(1, MANY),
  },
  endToEndP99MsMax: {
    name: 'MILLRACE_END_TO_END_P99_MS',
    fallback: 1000,
    help: 'the run fails above this',
    read: count(1, MANY),
  },
  connectP99MsMax: {
    name: 'MILLRACE_CONNECT_P99_MS',
    fallback: 5000,
    help: 'the run fails above this',
    read: count(1, MANY),
  },
}

/**
 * The settings of a scenario: what the environment says, else the scenario's defaults, else those above. Throws an Error
 * that names the variable.
 */
export function readSettings(
  environment: Environment,
  scenario: { readonly name: string; readonly defaults: Partial<Settings> },
): Settings {
  const settings: Record<string, unknown> = {}
  for (const [key, variable] of Object.entries(VARIABLES) as [keyof Settings, Variable<unknown>][]) {
    const text = environment[variable.name]
    const fallback = scenario.defaults[key] ?? variable.fallback
    try {
      settings[key] = text === undefined || text === '' ? fallback : variable.read(text)
    } catch (cause) {
      throw new Error(`${variable.name}: ${(cause as Error).message}`)
    }
  }
  if (settings.topic === '') settings.topic = `k6-${scenario.name}`
  const whole = settings as unknown as Settings
  if (whole.producers + whole.readers + whole.workers + whole.connections === 0) {
    throw new Error('MILLRACE_PRODUCERS and the like are all 0: there is nothing to run')
  }
  return whole
}

/** For people: every variable with its default, which scenarios may set otherwise. */
export function describeVariables(): string {
  const rows = Object.values(VARIABLES as Readonly<Record<string, Variable<unknown>>>)
  const width = Math.max(...rows.map((row) => row.name.length))
  return rows
    .map(({ name, help, fallback, read }) => {
      const value = read === duration ? durationText(fallback as number) : String(fallback)
      return `  ${name.padEnd(width)}  ${help}${value === '' ? '' : ` (${value})`}`
    })
    .join('\n')
}
