import { type Encodings, printable, recordAsJson, type TravelledRecord } from './json-output.js'

/** How a batch is printed: as one piece, because a write for each value would cost more than all the rest. */
export type RecordFormat = (records: readonly TravelledRecord[]) => string | Uint8Array

export interface FormatOptions {
  readonly json?: boolean
  readonly keySeparator?: string
}

/** Whole records as JSON, or values, with their keys where there is a separator. */
export function formatOf(encodings: Encodings, { json, keySeparator }: FormatOptions): RecordFormat {
  const { keyEncoding, valueEncoding } = encodings
  if (json) return lines((record) => recordAsJson(record, encodings))
  const value = (record: TravelledRecord) => printable(record.value, valueEncoding)
  if (keySeparator === undefined)
    return valueEncoding === 'bytes'
      ? byteLines((record) => [value(record)])
      : lines(value as (record: TravelledRecord) => string)
  return byteLines((record) => [printable(record.key, keyEncoding), keySeparator, value(record)])
}

function lines(text: (record: TravelledRecord) => string): RecordFormat {
  return (records) => {
    let joined = ''
    for (const record of records) joined += `${text(record)}\n`
    return joined
  }
}

const NEWLINE = Buffer.from('\n')

function byteLines(parts: (record: TravelledRecord) => (string | Uint8Array)[]): RecordFormat {
  return (records) => {
    const pieces: Uint8Array[] = []
    for (const record of records) {
      for (const part of parts(record)) pieces.push(typeof part === 'string' ? Buffer.from(part) : part)
      pieces.push(NEWLINE)
    }
    return Buffer.concat(pieces)
  }
}
