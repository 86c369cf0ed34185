import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { DEAD_LETTER_HEADERS } from '../../protocol/dead-letters.js'
import { ENCODINGS } from '../../protocol/encodings.js'
import {
  COMPRESSION,
  COMPRESSION_MASK,
  ENTRY_HEADER_BYTES,
  ENTRY_MAGIC,
  ENTRY_VERSION,
  type EntryHeader,
  NO_PRODUCER_ID,
  readEntryHeader,
  writeEntryHeader,
} from '../../protocol/entry.js'
import { SECTION_KIND } from '../../protocol/entry-section.js'
import { ERROR_CODES } from '../../protocol/error-codes.js'
import { bytesFromHex, topicIdFrom } from '../../protocol/ids.js'
import {
  DEFAULT_LIMITS,
  HARD_LIMITS,
  PRODUCER_WINDOW_BATCHES,
  RESERVED_TOPIC_PREFIX,
} from '../../protocol/limits.js'
import { MESSAGES, OFFSET_AT } from '../../protocol/messages/index.js'
import { hashOfDedupId } from '../../protocol/murmur3.js'
import { RECORD_FIELDS } from '../../protocol/records.js'
import type { Form } from '../../protocol/shape.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  ON_LAG,
  topicOptions,
  topicOptionsPatch,
} from '../../protocol/topic-options.js'
import { FEATURES, PROTOCOL_VERSION, SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/version.js'

const page = readFileSync(new URL('../../protocol/PROTOCOL.md', import.meta.url), 'utf8')

/** The text under a heading, up to the next heading. */
function under(heading: string): string {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => line.startsWith('#') && line.replace(/^#+ /, '') === heading)
  if (start < 0) throw new Error(`PROTOCOL.md has no heading "${heading}"`)
  const length = lines.slice(start + 1).findIndex((line) => /^#+ /.test(line))
  return lines.slice(start + 1, length < 0 ? undefined : start + 1 + length).join('\n')
}

/** The cells of every table row in a text, without its heads; code marks are taken off. */
function rows(text: string): string[][] {
  const lines = text.split('\n').filter((line) => line.startsWith('|'))
  const isHead = (index: number): boolean => /^\|(-+\|)+$/.test(lines[index + 1] ?? '')
  return lines
    .filter((line, index) => !/^\|(-+\|)+$/.test(line) && !isHead(index))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim().replace(/^`(.*)`$/, '$1')),
    )
}

/** A form as the tables write it. */
function typeOf(form: Form): string {
  if (form === topicOptions.form) return 'topic options'
  if (form === topicOptionsPatch.form) return 'topic options patch'
  switch (form.kind) {
    case 'uint':
      if (form.max === HARD_LIMITS.uint32Max) return 'uint32'
      return form.max === HARD_LIMITS.uintMax ? 'uint' : `uint ≤ ${form.max}`
    case 'text':
      return `text ≤ ${form.max}`
    case 'bytes':
      return form.max === 0x7fffffff ? 'bytes' : `bytes ≤ ${form.max}`
    case 'choice':
      return `uint ≤ ${Math.max(...Object.values(form.numbers))}`
    case 'tail':
    case 'nullable':
      return `${typeOf(form.of)} or nil`
    case 'list':
      return `list ≤ ${form.max} of ${typeOf(form.of)}`
    default:
      return form.kind
  }
}

/** The rows that a field takes: its own, and those of the tuple inside. */
function fieldRows(name: string, form: Form): [name: string, type: string][] {
  const present = form.kind === 'nullable' || form.kind === 'tail' ? form.of : form
  const inner = present.kind === 'list' ? present.of : present
  const prefix = present.kind === 'list' ? `${name}[]` : name
  // Those of topic options stand in a table of their own.
  const nested = typeOf(inner) === 'tuple' && inner.kind === 'tuple' ? Object.entries(inner.fields) : []
  return [[name, typeOf(form)], ...nested.flatMap(([field, of]) => fieldRows(`${prefix}.${field}`, of))]
}

/** The choices among the fields of a form, by the name of their row. */
function choiceRows(name: string, form: Form): [name: string, numbers: Readonly<Record<string, number>>][] {
  switch (form.kind) {
    case 'choice':
      return [[name, form.numbers]]
    case 'nullable':
    case 'tail':
      return choiceRows(name, form.of)
    case 'list':
      return choiceRows(`${name}[]`, form.of)
    case 'tuple':
      return Object.entries(form.fields).flatMap(([field, of]) => choiceRows(`${name}.${field}`, of))
    default:
      return []
  }
}

describe('PROTOCOL.md', () => {
  const headings = [...page.matchAll(/^### (\d+) ([A-Z_]+) · (client|broker) to (client|broker)$/gm)]

  it('has every frame, in the order of the opcodes, and no other', () => {
    const documented = headings.map(([, opcode, name]) => `${opcode} ${name}`)
    const byOpcode = [...MESSAGES].sort((a, b) => a.opcode - b.opcode)
    expect(documented).toEqual(byOpcode.map(({ opcode, name }) => `${opcode} ${name}`))
  })

  for (const message of MESSAGES) {
    it(`has the fields of ${message.name} with their types and bounds`, () => {
      const heading = headings.find(([, opcode]) => Number(opcode) === message.opcode)?.[0] ?? message.name
      const documented = rows(under(heading.replace('### ', ''))).map(([name, type]) => [name, type])
      const inCode = Object.entries(message.fields).flatMap(([name, { form }]) => fieldRows(name, form))
      expect(documented).toEqual(inCode)
    })
  }

  it('says what the number of each choice stands for', () => {
    for (const { opcode, fields } of MESSAGES) {
      const heading = headings.find(([, documented]) => Number(documented) === opcode)?.[0] ?? ''
      const meanings = new Map(rows(under(heading.replace('### ', ''))).map(([name, , text]) => [name, text]))
      const choices = Object.entries(fields)
        .flatMap(([name, { form }]) => choiceRows(name, form))
        // Those of topic options stand in a table of their own.
        .filter(([name]) => !/(^|\.)options\./.test(name))
      for (const [name, numbers] of choices) {
        for (const [choice, number] of Object.entries(numbers)) {
          expect(meanings.get(name), `${heading}: ${name}`).toContain(`${number} ${choice}`)
        }
      }
    }
  })

  it('has the options of a topic with their types and defaults', () => {
    const documented = rows(under('Topic options')).map(([name, type, byDefault]) => [name, type, byDefault])
    const forms = topicOptions.form.kind === 'tuple' ? Object.entries(topicOptions.form.fields) : []
    const patch = topicOptionsPatch.form.kind === 'tuple' ? topicOptionsPatch.form.fields : {}
    const defaults: Record<string, unknown> = { ...DEFAULT_TOPIC_OPTIONS, onLag: ON_LAG.keep }
    expect(documented).toEqual(
      forms.map(([name, form]) => [name, typeOf(form), String(defaults[name] ?? 'nil')]),
    )
    for (const [name, form] of forms) {
      expect(typeOf(patch[name] as Form)).toBe(`${typeOf(form).replace(' or nil', '')} or nil`)
    }
    expect(under('Topic options')).toContain('0 keep')
    expect(under('Topic options')).toContain('1 drop')
  })

  it('has the blocks of a section with their numbers', () => {
    const documented = rows(under('Section')).map(([name, number]) => [name, Number(number)])
    expect(documented).toEqual(Object.entries(SECTION_KIND))
  })

  it('has the hashes of dedup ids that the code makes', () => {
    const documented = rows(under('Dedup ids'))
    expect(documented.length).toBeGreaterThan(3)
    for (const [id, hash] of documented) {
      expect(Buffer.from(hashOfDedupId(id as string)).toString('hex'), id).toBe(hash)
    }
  })

  it('has the headers of a dead letter', () => {
    const documented = rows(under('11. Dead letters')).map(([name]) => name)
    expect(documented).toEqual(Object.values(DEAD_LETTER_HEADERS))
  })

  it('lists the ranges of opcodes in use', () => {
    const ranges = rows(under('4. Every frame')).map(([range]) => (range as string).split(' - ').map(Number))
    const isListed = (opcode: number): boolean =>
      ranges.some(([from, to]) => opcode >= from! && opcode <= to!)
    expect(MESSAGES.filter(({ opcode }) => !isListed(opcode))).toEqual([])
    expect(ranges.reduce((sum, [from, to]) => sum + (to as number) - (from as number) + 1, 0)).toBe(
      MESSAGES.length,
    )
  })

  it('has the error catalogue', () => {
    const documented = rows(under('15. Errors')).map(([code, retriable, outcome, http]) => [
      code,
      retriable,
      outcome,
      http,
    ])
    const inCode = Object.entries(ERROR_CODES).map(([code, { retriable, outcome, httpStatus }]) => [
      code,
      retriable ? 'yes' : 'no',
      outcome,
      String(httpStatus),
    ])
    expect(documented).toEqual(inCode)
  })

  it('speaks of no error code that does not exist', () => {
    const names = new Set(MESSAGES.map(({ name }) => name as string))
    const shouted = new Set(page.match(/\b[A-Z]+(_[A-Z]+)+\b/g))
    const unknown = [...shouted].filter((word) => !names.has(word) && !(word in ERROR_CODES))
    expect(unknown).toEqual(['PRODUCER_WINDOW_BATCHES'])
  })

  it('has every limit with its value', () => {
    const documented = rows(under('14. Limits')).map(([name, value]) => [name, Number(value)])
    const inCode = Object.entries({ ...DEFAULT_LIMITS, ...HARD_LIMITS, PRODUCER_WINDOW_BATCHES })
    expect(documented).toEqual(inCode)
  })

  it('has the encodings and compressions with their numbers', () => {
    const encodings = rows(under('Encodings')).map(([name, number]) => [name, Number(number)])
    expect(encodings).toEqual(Object.entries(ENCODINGS))
    const compressions = rows(under('Compression')).map(([name, number]) => [name, Number(number)])
    expect(compressions).toEqual(Object.entries(COMPRESSION))
    expect(COMPRESSION_MASK).toBe(0b111)
  })

  it('has the elements of a record', () => {
    expect(rows(under('5. Record payload'))).toHaveLength(RECORD_FIELDS)
  })

  it('has the names that begin a connection', () => {
    expect(page).toContain(`# The Millrace protocol, version ${PROTOCOL_VERSION}\n`)
    expect(under('1. Transport')).toContain(`at path \`${WEBSOCKET_PATH}\`, subprotocol \`${SUBPROTOCOL}\``)
    expect(under('10 CREATE_TOPIC · client to broker')).toContain(
      `not beginning with \`${RESERVED_TOPIC_PREFIX}\``,
    )
    for (const feature of Object.values(FEATURES)) {
      expect(under('1 HELLO · client to broker')).toContain(`understands: \`${feature}\``)
    }
    expect(OFFSET_AT).toEqual({ earliest: 0, latest: 1, time: 2 })
    expect(under('28 LIST_OFFSETS · client to broker')).toContain('0 earliest, 1 latest, 2 by time')
  })
})

describe("PROTOCOL.md's stored entry", () => {
  const fields = rows(under('6. Stored entry')).map(([at, bytes, name]) => ({
    at: Number(at),
    bytes: Number(bytes),
    name: name as string,
  }))

  // A value of its own in every field, so that no two can be taken for each other.
  const header: EntryHeader = {
    attributes: 0x0102,
    payloadCrc: 0x11121314,
    topicId: topicIdFrom('202122232425262728292a2b2c2d2e2f'),
    partition: 0x31323334,
    lastOffsetDelta: 0x41424344,
    baseOffset: 0x0a525354555657,
    appendTime: 0x0b626364656667,
    baseTimestamp: 0x0c727374757677,
    producerId: 0x0d828384858687,
    baseSequence: 0x0e929394959697,
    producerEpoch: 0xa1a2a3a4,
    recordCount: 0xb1b2b3b4,
    sectionBytes: 0xc1c2c3c4,
    payloadBytes: 0xd1d2d3d4,
    inflatedBytes: 0xe1e2e3e4,
    sectionCrc: 0xf1f2f3f4,
  }
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES)
  const headerCrc = writeEntryHeader(bytes, 0, header)

  it('has fields that follow each other and fill the header', () => {
    let at = 0
    for (const field of fields) {
      expect(field.at, field.name).toBe(at)
      at += field.bytes
    }
    expect(at).toBe(ENTRY_HEADER_BYTES)
  })

  it('has every field where the code writes it', () => {
    const values: Record<string, number | string> = {
      ...header,
      magic: ENTRY_MAGIC,
      version: ENTRY_VERSION,
      headerCrc,
      reserved: 0,
    }
    expect(fields.map(({ name }) => name).sort()).toEqual(Object.keys(values).sort())
    for (const { at, bytes: size, name } of fields) {
      const value = values[name] as number | string
      const expected = new Uint8Array(size)
      if (typeof value === 'string') bytesFromHex(value, expected)
      else
        for (let i = 0, rest = value; i < size; i++, rest = Math.floor(rest / 256)) expected[i] = rest % 256
      expect(bytes.subarray(at, at + size), name).toEqual(expected)
    }
    expect(readEntryHeader(bytes)).toEqual(header)
  })

  it('has a header CRC that can be computed from its words alone', () => {
    const seed = (0x5245524d ^ ((header.attributes << 16) | 1)) >>> 0
    expect(headerCrc).toBe(bitwiseCrc32(bytes.subarray(12, 112), seed))
    expect(bitwiseCrc32(Buffer.from('123456789'), 0)).toBe(0xcbf43926)
    expect(page).toContain('`0xcbf43926`')
    expect(NO_PRODUCER_ID).toBe(0)
  })

  it('is drawn with the same fields in the same order', () => {
    const [drawing] = /```([^`]*MRER[^`]*)```/.exec(under('6. Stored entry')) as RegExpExecArray
    const drawn = drawing
      .replace('ver 1', 'version')
      .replace('attrs', 'attributes')
      .replace('lastOffset-', 'lastOffsetDelta')
      .match(/[a-zA-Z]{5,}/g)
      ?.filter((word) => fields.some(({ name }) => name === word))
    expect(drawn?.slice(0, fields.length)).toEqual(fields.map(({ name }) => name))
  })
})

/** The CRC as PROTOCOL.md describes it, bit by bit. */
function bitwiseCrc32(bytes: Uint8Array, seed: number): number {
  let crc = ~seed
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return ~crc >>> 0
}
