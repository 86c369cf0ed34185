import { DEAD_LETTER_HEADERS } from '../../protocol/dead-letters.js'
import type { WireHeaders, WireRecord } from '../../protocol/record.js'
import { type BatchPlace, readableWriter, timeAsJson } from './record-text.js'

const OWN: ReadonlySet<string> = new Set(Object.values(DEAD_LETTER_HEADERS))

/**
 * Writes dead letters as JSON, each on one line: the record as it was, and why it is here. One that cannot be read as its
 * topic says, which may be why it is here, has its key and value as they are stored, and an `error`.
 */
export function letterWriter(place: BatchPlace): (record: WireRecord) => string {
  const write = readableWriter(place)
  return (record) => {
    const headers = record.headers ?? {}
    const others = Object.entries(headers).filter(([name]) => !OWN.has(name))
    const own: WireRecord = { ...record, headers: Object.fromEntries(others) }
    return `${write(own).slice(0, -1)},${saidIn(headers)}}`
  }
}

/** What the letter's headers say, as fields of JSON. */
function saidIn(headers: WireHeaders): string {
  const text = (field: keyof typeof DEAD_LETTER_HEADERS): string =>
    String(headers[DEAD_LETTER_HEADERS[field]] ?? '')
  const number = (field: keyof typeof DEAD_LETTER_HEADERS): number => Number(text(field)) || 0
  const origin = { topic: text('topic'), partition: number('partition'), offset: number('offset') }
  const said = { reason: text('reason'), count: number('count'), origin, group: text('group') }
  return `${JSON.stringify(said).slice(1, -1)},"time":${timeAsJson(number('time'))}`
}
