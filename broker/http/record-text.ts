import { MillraceError } from '../../protocol/error-codes.js'
import type { WireRecord } from '../../protocol/record.js'
import { jsonOfWire, marked, type ReadAs } from './wire-codec.js'

/** What the records of one stored batch share. */
export interface BatchPlace {
  readonly keyEncoding: ReadAs
  readonly valueEncoding: ReadAs
  readonly topic: string
  readonly partition: number
  readonly baseOffset: number
  readonly baseTimestamp: number
  /** Broker time, milliseconds. */
  readonly appendTime: number
}

/** Times beyond have no ISO form. */
const DATE_MS_MAX = 8.64e15

/** A broker time as answers have it. */
export const timeAsText = (ms: number): string => new Date(ms).toISOString()

/** A time as JSON; one that no calendar has is a number. */
export const timeAsJson = (ms: number): string =>
  Math.abs(ms) <= DATE_MS_MAX ? `"${new Date(ms).toISOString()}"` : String(ms)

/** Writes the records of one batch as JSON, each on one line: what `millrace consume --json` prints. */
export function recordWriter(place: BatchPlace): (record: WireRecord) => string {
  const { partition, baseOffset, baseTimestamp, keyEncoding, valueEncoding } = place
  const topic = JSON.stringify(place.topic)
  const appendTime = timeAsJson(place.appendTime)
  // Records of a batch mostly have one time, and writing it costs more than all else of a small one.
  let timestampMs = place.appendTime
  let timestamp = appendTime
  const timeOf = (ms: number): string => {
    if (ms !== timestampMs) timestamp = timeAsJson(ms)
    timestampMs = ms
    return timestamp
  }
  return ({ offsetDelta, timestampDelta, key, value, headers }) =>
    `{"topic":${topic},"partition":${partition},"offset":${baseOffset + offsetDelta}` +
    `,"timestamp":${timeOf(baseTimestamp + timestampDelta)},"appendTime":${appendTime}` +
    `,"key":${jsonOfWire(key, keyEncoding)},"value":${jsonOfWire(value, valueEncoding)}` +
    `,"headers":${headers === null ? '{}' : JSON.stringify(marked(headers))}}`
}

/** As recordWriter; a record that cannot be read as its topic says has its key and value as they are stored, and an `error`. */
export function readableWriter(place: BatchPlace): (record: WireRecord) => string {
  const write = recordWriter(place)
  const writeStored = recordWriter({ ...place, keyEncoding: 'stored', valueEncoding: 'stored' })
  return (record) => {
    try {
      return write(record)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      const { code, message } = error
      return `${writeStored(record).slice(0, -1)},"error":${JSON.stringify({ code, message })}}`
    }
  }
}
