import { type Logger, pino } from 'pino'
import type { LogLevel } from './config/schema.js'
import { EVENTS, type Tellers, tellers } from './platform/events.js'

export type { Logger }

/** Users' data, under whatever name it may be passed by mistake. */
const UNLOGGED = ['payload', 'value', 'values', 'records', 'entries', 'headers', 'credential', 'token']

export interface LogTarget {
  readonly level: LogLevel
  /** For people (one coloured line an entry) rather than programs (one JSON object a line). */
  readonly pretty: boolean
  /** File descriptor to write to; stdout when left out. */
  readonly descriptor?: number
}

/**
 * The broker's log. It writes synchronously, so that the last lines before an exit are never lost, and it holds no
 * user data: fields that could carry records are cut out, and bytes are logged as their length.
 */
export async function openLog({ level, pretty, descriptor = 1 }: LogTarget): Promise<Logger> {
  const options = {
    level,
    base: null,
    redact: { paths: [...UNLOGGED, ...UNLOGGED.map((name) => `*.${name}`)], censor },
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => withoutBytes(fields),
    },
    timestamp: pino.stdTimeFunctions.isoTime,
  }
  if (!pretty) return pino(options, pino.destination({ dest: descriptor, sync: true }))
  // As a plain stream, not a pino transport: a worker thread would lose the last lines of a dying process.
  const { default: prettyStream } = await import('pino-pretty')
  return pino(
    options,
    prettyStream({
      destination: descriptor,
      sync: true,
      translateTime: 'SYS:HH:MM:ss.l',
      singleLine: true,
      ignore: 'pid,hostname',
    }),
  )
}

/** Writes the events that the log's level lets through. */
export function eventsTo(log: Logger): Tellers {
  return tellers((event) => {
    const { level, text } = EVENTS[event]
    return log.isLevelEnabled(level) ? (fields) => log[level]({ event, ...fields }, text) : undefined
  })
}

/** How many records there were is nobody's data. */
const censor = (value: unknown, path: readonly string[]): unknown =>
  path.at(-1) === 'records' && typeof value === 'number' ? value : '[not logged]'

function withoutBytes(fields: Record<string, unknown>): Record<string, unknown> {
  let copy: Record<string, unknown> | undefined
  for (const [name, value] of Object.entries(fields)) {
    if (!ArrayBuffer.isView(value)) continue
    copy ??= { ...fields }
    copy[name] = `[${value.byteLength} bytes]`
  }
  return copy ?? fields
}
