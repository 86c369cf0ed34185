import { InvalidArgumentError, Option } from 'commander'
import { ENCODINGS } from '../../protocol/encodings.js'
import { parseCount, parseDuration } from '../config/values.js'

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

/** Reads a text of one character or more; \t, \n, \0 and \\ may be written so. */
export function separator(text: string): string {
  const read = text.replace(/\\([tn0\\])/g, (_, name: string) => ESCAPES[name] ?? name)
  if (read !== '' && read !== '\n') return read
  throw new InvalidArgumentError('It must be one character or more, and no newline.')
}

const ESCAPES: Readonly<Record<string, string>> = { t: '\t', n: '\n', '0': '\0', '\\': '\\' }

export const encodingOption = (flags: string, about: string): Option =>
  new Option(flags, about).choices(Object.keys(ENCODINGS))
