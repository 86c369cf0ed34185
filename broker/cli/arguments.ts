import { InvalidArgumentError, Option } from 'commander'
import { ENCODINGS } from '../../protocol/encodings.js'
import { parseBytes, parseCount, parseDuration } from '../config/values.js'

/** Reads a whole number of `least` or more. */
export function countFrom(least: number): (text: string) => number {
  return (text) => {
    const count = parseCount(text)
    if (count !== undefined && count >= least) return count
    throw new InvalidArgumentError(`It must be a whole number, ${least} or more.`)
  }
}

/** Reads a duration, into milliseconds. */
export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms > 0) return ms
  throw new InvalidArgumentError('It must be a duration such as 30s, 10m or 500ms.')
}

/** Reads a size, into bytes. */
export function size(text: string): number {
  const bytes = parseBytes(text)
  if (bytes !== undefined && bytes > 0) return bytes
  throw new InvalidArgumentError('It must be a size such as 64MiB, 1GiB or 67108864.')
}

/** A place in a topic, as commands are told it. */
export type Position = 'earliest' | 'latest' | Date

/** Reads a place in a topic: an end of it, or a time. */
export function position(text: string): Position {
  const read = positionOf(text)
  if (read !== undefined) return read
  throw new InvalidArgumentError('It must be earliest, latest or a time such as 2026-11-01T12:00:00Z.')
}

/** Reads a place that may be an offset too. */
export function offsetOrPosition(text: string): Position | { readonly offset: number } {
  const read = positionOf(text)
  if (read !== undefined) return read
  const offset = parseCount(text)
  if (offset !== undefined) return { offset }
  throw new InvalidArgumentError(
    'It must be earliest, latest, an offset, or a time such as 2026-11-01T12:00:00Z.',
  )
}

function positionOf(text: string): Position | undefined {
  if (text === 'earliest' || text === 'latest') return text
  const time = /^\d{4}-\d{2}/.test(text) ? new Date(text) : undefined
  return time === undefined || Number.isNaN(time.getTime()) ? undefined : time
}

/** Reads an offset, or `end`. */
export function offsetOrEnd(text: string): number | 'end' {
  const offset = text === 'end' ? text : parseCount(text)
  if (offset !== undefined) return offset
  throw new InvalidArgumentError('It must be an offset, or end.')
}

/** Reads a text of one character or more; \t, \n, \0 and \\ may be written so. */
export function separator(text: string): string {
  const read = text.replace(/\\([tn0\\])/g, (_, name: string) => ESCAPES[name] ?? name)
  if (read !== '' && read !== '\n') return read
  throw new InvalidArgumentError('It must be one character or more, and no newline.')
}

const ESCAPES: Readonly<Record<string, string>> = { t: '\t', n: '\n', '0': '\0', '\\': '\\' }

export const encodingOption = (flags: string, about: string): Option =>
  new Option(flags, about).choices(Object.keys(ENCODINGS))
