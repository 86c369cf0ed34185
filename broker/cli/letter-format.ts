import type { DeadLetter } from '../../client/index.js'
import { deadLetterTopicName } from '../../protocol/dead-letters.js'
import type { Wire } from '../../protocol/record.js'
import { type Encodings, printable, recordAsJson, type TravelledRecord } from './json-output.js'

/** A dead letter with its key and value as they travelled. */
export type TravelledLetter = DeadLetter<TravelledRecord>

/** A cell of the table holds so much of a text. */
const cellCharsMax = 60

export const LETTER_HEADING: readonly (string | number)[] = [
  'OFFSET',
  'ORIGIN',
  'TRIES',
  'REASON',
  'KEY',
  'VALUE',
]

/** A dead letter as a row of a table, each of its texts on one line and cut. */
export function letterRow(
  letter: TravelledLetter,
  { keyEncoding, valueEncoding }: Encodings,
): readonly (string | number)[] {
  const { topic, partition, offset } = letter.origin
  return [
    letter.offset,
    `${topic}/${partition}@${offset}`,
    letter.count,
    cell(letter.reason),
    cell(printable(letter.raw.key, keyEncoding)),
    cell(printable(letter.raw.value, valueEncoding)),
  ]
}

/** The whole dead letter as one line of JSON: the record as `consume --json` prints it, and why it is here. */
export function letterAsJson(letter: TravelledLetter, encodings: Encodings): string {
  const { record, error, reason, count, origin, group, time } = letter
  // Nothing is decoded on the way, so there is nothing that can fail.
  if (record === undefined) throw error ?? new Error('a dead letter without its record')
  const topic = deadLetterTopicName(record.topic, group)
  const said = JSON.stringify({ reason, count, origin, group, time: new Date(time).toISOString() })
  return `${recordAsJson({ ...record, topic }, encodings).slice(0, -1)},${said.slice(1)}`
}

/** One line of at most so many characters; what would move a terminal's cursor is spelt out. */
function cell(wire: Wire): string {
  if (wire === null || wire.length === 0) return '-'
  // Bytes beyond the cut need not be decoded; a character has four at most.
  const text = typeof wire === 'string' ? wire : Buffer.from(wire.subarray(0, 4 * cellCharsMax)).toString()
  const plain = text.slice(0, 2 * cellCharsMax).replace(/\p{Cc}/gu, (control) => {
    return JSON.stringify(control).slice(1, -1)
  })
  return plain.length > cellCharsMax ? `${plain.slice(0, cellCharsMax - 1)}…` : plain
}
