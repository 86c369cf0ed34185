import { isUtf8 } from 'node:buffer'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { inexactNumberIn } from '../../protocol/json-numbers.js'
import type { Wire } from '../../protocol/record.js'
import { wireOfJson } from '../http/wire-codec.js'
import { CommandFailure } from './failure.js'
import { type LineBlock, linesOf } from './lines.js'

/** How lines become records of a topic. */
export interface LineFormat {
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
  /** What parts key and value of a line, at its first place; undefined where lines have no key. */
  readonly keySeparator: string | undefined
}

export interface LineRecord {
  readonly key: Wire
  readonly value: Wire
}

/** A line that cannot become a record of its topic. */
export class LineFault extends CommandFailure {
  readonly line: number

  constructor(line: number, what: string) {
    super(`line ${line} ${what}`)
    this.line = line
  }
}

export interface LineRecords {
  readonly records: LineRecord[]
  /** Bytes of the values as they stood in the lines. */
  readonly valueBytes: number
}

/** The records of a block. Throws a `LineFault` for the first line that does not fit the topic. */
export function recordsOf(block: LineBlock, format: LineFormat): LineRecords {
  if (format.keySeparator !== undefined) return keyedRecords(block, format, format.keySeparator)
  const records =
    format.valueEncoding === 'text' ? textRecords(block) : valueRecords(block, format.valueEncoding)
  return { records, valueBytes: block.bytes.length - (records.length - 1) }
}

/** The common case by far. A newline is no part of any other character, so whole blocks are checked and split. */
function textRecords(block: LineBlock): LineRecord[] {
  if (!isUtf8(block.bytes)) {
    const index = linesOf(block).findIndex((line) => !isUtf8(line))
    throw notText(block.firstLine + index)
  }
  return block.bytes
    .toString()
    .split('\n')
    .map((value) => ({ key: null, value }))
}

function valueRecords(block: LineBlock, encoding: Encoding): LineRecord[] {
  const encode = ENCODERS[encoding]
  return linesOf(block).map((bytes, i) => {
    return { key: null, value: encode(bytes, { line: block.firstLine + i, part: 'value' }) }
  })
}

function keyedRecords(block: LineBlock, format: LineFormat, separator: string): LineRecords {
  const encodeKey = ENCODERS[format.keyEncoding]
  const encodeValue = ENCODERS[format.valueEncoding]
  const separatorBytes = Buffer.from(separator)
  let valueBytes = 0
  const records = linesOf(block).map((bytes, i) => {
    const line = block.firstLine + i
    const at = bytes.indexOf(separatorBytes)
    if (at === -1) throw new LineFault(line, `has no key: it does not hold ${JSON.stringify(separator)}`)
    const value = bytes.subarray(at + separatorBytes.length)
    valueBytes += value.length
    return {
      key: encodeKey(bytes.subarray(0, at), { line, part: 'key' }),
      value: encodeValue(value, { line, part: 'value' }),
    }
  })
  return { records, valueBytes }
}

interface Place {
  readonly line: number
  readonly part: 'key' | 'value'
}

const ENCODERS: Readonly<Record<Encoding, (bytes: Buffer, place: Place) => Wire>> = {
  bytes: (bytes) => bytes,
  text: textOf,
  json(bytes, place) {
    const text = textOf(bytes, place)
    return parsed(text, place) === null ? null : text
  },
  // MessagePack is not written by hand: lines are JSON, and become the MessagePack that says the same.
  msgpack(bytes, place) {
    const text = textOf(bytes, place)
    const value = parsed(text, place)
    const { line, part } = place
    const digits = inexactNumberIn(text)
    if (digits !== undefined)
      throw new LineFault(
        line,
        `is refused: its ${part} has ${digits}, which JSON would round: write {"int64":"${digits}"}`,
      )
    try {
      return wireOfJson(value, 'msgpack', part)
    } catch (error) {
      if (error instanceof MillraceError) throw new LineFault(line, `is refused: ${error.message}`)
      throw error
    }
  },
}

function textOf(bytes: Buffer, { line }: Place): string {
  if (!isUtf8(bytes)) throw notText(line)
  return bytes.toString()
}

function parsed(text: string, { line, part }: Place): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new LineFault(line, `is refused: its ${part} is not JSON, which this topic takes`)
  }
}

const notText = (line: number): LineFault =>
  new LineFault(
    line,
    'is not valid UTF-8, which a topic of encoding text cannot hold: use another topic with --encoding bytes',
  )
