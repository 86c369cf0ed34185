import { MillraceError } from '../../protocol/error-codes.js'
import { ConfigError } from '../config/config-error.js'

/** Exit codes: what went wrong, for scripts. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/** A command cannot do what it was asked to. The message is one line for a person. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly exitCode: number

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.exitCode = options.exitCode ?? EXIT.failed
  }
}

/** A command line that makes no sense. */
export const usageFailure = (message: string): CommandFailure =>
  new CommandFailure(message, { exitCode: EXIT.usage })

export const exitCodeOf = (error: unknown): number => {
  if (error instanceof CommandFailure) return error.exitCode
  return error instanceof ConfigError ? EXIT.usage : EXIT.failed
}

/** One line that says what happened, with the error's code where it has one. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error))
  const message = oneLine(error.message) || error.name
  return error instanceof MillraceError ? `${message} (${error.code})` : message
}

/** Everything known about the error, its causes included; what `--verbose` adds. */
export function traceOf(error: unknown): string {
  const parts: string[] = []
  for (
    let at: unknown = error;
    at !== undefined && parts.length < 5;
    at = at instanceof Error ? at.cause : undefined
  ) {
    parts.push(at instanceof Error ? (at.stack ?? at.message) : String(at))
  }
  return parts.join('\ncaused by: ')
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' ').trim()
