import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { crc32 } from '#crc32'
import { type Encoding, isTextual } from '../../../protocol/encodings.js'
import {
  type Compression,
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  entryPayload,
  readEntryHeader,
  writeEntryHeader,
} from '../../../protocol/entry.js'
import { entrySection, readSection, writeSection } from '../../../protocol/entry-section.js'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import { MESSAGES, type Message } from '../../../protocol/messages/index.js'
import {
  decodeRecords,
  type RecordToAppend,
  recordsFault,
  type WireRecord,
} from '../../../protocol/records.js'
import { BATCH_SAMPLES, type BatchSample, payloadOf } from './batch-samples.js'
import { ENTRY_SAMPLES, type EntrySample } from './entry-samples.js'
import { FRAME_SAMPLES } from './frame-samples.js'

interface FrameVector {
  name: string
  message: string
  fields: Record<string, unknown>
  hex: string
}

interface BatchVector {
  name: string
  keyEncoding: Encoding
  valueEncoding: Encoding
  compression: Compression
  records: RecordToAppend[]
  recordCount: number
  baseTimestamp: number
  inflatedBytes: number
  payloadCrc: number
  payload: Uint8Array
}

interface EntryVector {
  name: string
  header: EntryHeader
  section?: Uint8Array
  payload: Uint8Array
  hex: string
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))

/** Bytes stand in the files as {"bin": hex}. */
const toJson = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? { bin: toHex(value) } : value
const fromJson = (_: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && 'bin' in value ? fromHex(value.bin as string) : value

/**
 * The vectors of a file. With UPDATE_GOLDEN=1, samples that have none get theirs first; a vector that is there stays as
 * it is, whatever the code does now.
 */
function vectorsOf<S extends { name: string }, V extends { name: string }>(
  file: string,
  samples: readonly S[],
  vectorOf: (sample: S) => V,
): V[] {
  const path = fileURLToPath(new URL(`../../golden/v1/${file}`, import.meta.url))
  const load = (): V[] => (existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8'), fromJson) as V[]) : [])
  if (process.env.UPDATE_GOLDEN === '1') {
    const known = new Map(load().map((vector) => [vector.name, vector]))
    const vectors = samples.map((sample) => known.get(sample.name) ?? vectorOf(sample))
    writeFileSync(path, `${JSON.stringify(vectors, toJson, 2)}\n`)
  }
  return load()
}

/** What JSON keeps of a sample: absent optional fields and plain bytes. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value, toJson), fromJson)

const names = (list: readonly { name: string }[]): string[] => list.map(({ name }) => name)

describe('the golden frames', () => {
  const messages = new Map(MESSAGES.map((message) => [message.name, message]))
  const messageOf = ({ message }: { message: string }): Message => messages.get(message) as Message
  const vectors = vectorsOf(
    'frames.json',
    FRAME_SAMPLES,
    (sample): FrameVector => ({
      ...sample,
      hex: toHex(packFrame(messageOf(sample).write(sample.fields))),
    }),
  )

  it('are those of the samples, and cover every message', () => {
    expect(names(vectors)).toEqual(names(FRAME_SAMPLES))
    expect(new Set(vectors.map(({ message }) => message))).toEqual(new Set(messages.keys()))
  })

  for (const [index, vector] of vectors.entries()) {
    it(`${vector.name}: is written as these bytes and read from them`, () => {
      const { name, message, fields } = vector
      expect({ name, message, fields }).toEqual(asJson(FRAME_SAMPLES[index]))
      expect(toHex(packFrame(messageOf(vector).write(fields)))).toBe(vector.hex)
      const frame = unpackFrame(fromHex(vector.hex))
      expect(frame[0]).toBe(messageOf(vector).opcode)
      expect(messageOf(vector).read(frame)).toEqual(fields)
    })
  }
})

describe('the golden batches', () => {
  const vectors = vectorsOf('batches.json', BATCH_SAMPLES, batchVector)

  it('are those of the samples', () => {
    expect(names(vectors)).toEqual(names(BATCH_SAMPLES))
  })

  for (const [index, vector] of vectors.entries()) {
    it(`${vector.name}: is written as these bytes and read from them`, () => {
      const { payload, recordCount, baseTimestamp, inflatedBytes, compression } = vector
      expect(vector.records).toEqual(asJson(BATCH_SAMPLES[index]?.records))
      expect(crc32(payload)).toBe(vector.payloadCrc)
      const inflated = compression === 'gzip' ? new Uint8Array(gunzipSync(payload)) : payload
      expect(inflated.length).toBe(inflatedBytes)

      const built = payloadOf(vector)
      expect(toHex(built.payload)).toBe(toHex(inflated))
      expect(built).toMatchObject({ recordCount, baseTimestamp })

      const expectation = {
        recordCount,
        keyTextual: isTextual(vector.keyEncoding),
        valueTextual: isTextual(vector.valueEncoding),
        recordBytesMax: 1 << 20,
      }
      expect(recordsFault(inflated, expectation)).toBeUndefined()
      const decoded: WireRecord[] = vector.records.map(({ key, value, headers, timestamp }, offsetDelta) => ({
        offsetDelta,
        timestampDelta: timestamp - baseTimestamp,
        key,
        value,
        headers: headers ?? null,
      }))
      expect(decodeRecords(inflated, recordCount)).toEqual(decoded)
    })
  }
})

function batchVector(sample: BatchSample): BatchVector {
  const { payload: inflated, recordCount, baseTimestamp } = payloadOf(sample)
  const payload =
    sample.compression === 'gzip' ? new Uint8Array(gzipSync(inflated)) : new Uint8Array(inflated)
  return {
    ...sample,
    records: [...sample.records],
    recordCount,
    baseTimestamp,
    inflatedBytes: inflated.length,
    payloadCrc: crc32(payload),
    payload,
  }
}

describe('the golden stored entries', () => {
  const entryOf = ({ header, section, payload }: EntrySample): Uint8Array => {
    const bytes = new Uint8Array(entryBytes(header))
    writeEntryHeader(bytes, 0, header)
    bytes.set(section ?? [], ENTRY_HEADER_BYTES)
    bytes.set(payload, ENTRY_HEADER_BYTES + header.sectionBytes)
    return bytes
  }
  const vectors = vectorsOf(
    'entries.json',
    ENTRY_SAMPLES,
    (sample): EntryVector => ({
      ...sample,
      hex: toHex(entryOf(sample)),
    }),
  )

  it('are those of the samples', () => {
    expect(names(vectors)).toEqual(names(ENTRY_SAMPLES))
  })

  for (const vector of vectors) {
    it(`${vector.name}: is written as these bytes and read from them`, () => {
      expect(toHex(entryOf(vector))).toBe(vector.hex)
      const bytes = fromHex(vector.hex)
      expect(entryHeaderFault(bytes)).toBeUndefined()
      expect(readEntryHeader(bytes)).toEqual(vector.header)
      expect(entryPayload(bytes, vector.header)).toEqual(vector.payload)
      expect(crc32(vector.payload)).toBe(vector.header.payloadCrc)
      const section = entrySection(bytes, vector.header)
      expect(section).toEqual(vector.section ?? new Uint8Array(0))
      expect(crc32(section)).toBe(vector.header.sectionCrc)
      const { recordCount } = vector.header
      expect(writeSection(readSection(section, recordCount))).toEqual(section)
    })
  }
})
