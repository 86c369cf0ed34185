import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { ChunkFiles } from '../../broker/chunks/chunk-files.js'
import { ChunkCorruption } from '../../broker/chunks/corruption.js'
import type { OwnedSection } from '../../broker/chunks/format.js'
import type { ChunkSection } from '../../broker/chunks/section.js'
import { verifyChunk } from '../../broker/chunks/verify-chunk.js'
import { entryBytes, readEntryHeader } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import { topicIdFrom } from '../../protocol/ids.js'
import { chunkDirectory, sealChunk, someClusterId } from '../broker/chunks/sealed-chunk.js'
import { storedEntries, storedEntry } from '../support/entries.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { chosen, otherNumber } from './lies.js'

interface ChunkRecipe {
  readonly changes: readonly {
    readonly what: number
    readonly section: number
    readonly at: number
    readonly n: number
  }[]
  readonly reads: readonly { readonly section: number; readonly offset: number; readonly maxBytes: number }[]
}
type ChunkChange = ChunkRecipe['changes'][number]

const chunkRecipe: fc.Arbitrary<ChunkRecipe> = fc.record(
  {
    changes: fc.array(
      fc.record(
        { what: fc.nat(11), section: fc.nat(3), at: fc.nat(60), n: fc.nat(500) },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 2 },
    ),
    reads: fc.array(
      fc.record(
        { section: fc.nat(3), offset: fc.nat(60), maxBytes: fc.nat(3_000) },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 6 },
    ),
  },
  { noNullPrototype: true },
)

const CHUNK_ID = 2 ** 32 + 7
const PATH = `${chunkDirectory}/0000000100000007.chunk`
const otherTopic = topicIdFrom('ff112233445566778899aabbccddeeff')

let sealed: Uint8Array
/** Another chunk of the same partitions. */
let another: Uint8Array
let sections: OwnedSection[]

beforeAll(async () => {
  const sizes = Array.from({ length: 15 }, (_, i) => (i % 4 === 0 ? 300 : 40))
  const plans = (baseOffset: number) => [
    { entries: storedEntries(sizes, { recordsPerEntry: 2, baseOffset }) },
    { partition: 1, entries: storedEntries(sizes, { partition: 1, baseOffset }) },
    { topicId: otherTopic, entries: storedEntries(sizes.slice(0, 6), { topicId: otherTopic, baseOffset }) },
    { partition: 2, entries: [storedEntry({ partition: 2, baseOffset })] },
  ]
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  sections = await sealChunk({ disk, chunkId: CHUNK_ID, indexIntervalBytes: 512 }, plans(10))
  await sealChunk({ disk, chunkId: CHUNK_ID + 1, indexIntervalBytes: 512 }, plans(12))
  sealed = await disk.readFile(PATH)
  another = await disk.readFile(PATH.replace('7.chunk', '8.chunk'))
})

test('of a changed chunk nothing is read that was not sealed there, and no change escapes the verification', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const outcomes = { served: 0, refused: 0 }
  await runCampaign({
    name: 'chunks',
    recipe: chunkRecipe,
    runs: 600,
    holds: async (recipe) => {
      for (const outcome of await tryChunk(recipe)) outcomes[outcome]++
    },
  })
  expect(outcomes.served).toBeGreaterThan(100)
  expect(outcomes.refused).toBeGreaterThan(100)
})

/** A chunk file that is being changed, and what is believed of it elsewhere. */
interface Forgery {
  bytes: Uint8Array
  sections: OwnedSection[]
  /** Entries have right checksums and are not what was sealed: a read cannot tell. */
  isForged: boolean
}

async function tryChunk({ changes, reads }: ChunkRecipe): Promise<('served' | 'refused')[]> {
  const forgery: Forgery = { bytes: new Uint8Array(sealed), sections: [...sections], isForged: false }
  for (const change of changes) apply(forgery, change)
  const disk = new SimulatedDisk()
  await disk.makeDirectory(chunkDirectory)
  await disk.replaceFile(PATH, forgery.bytes)
  const { fault } = await verifyChunk({
    disk,
    directory: chunkDirectory,
    chunkId: CHUNK_ID,
    clusterId: someClusterId,
  })
  const isSame = Buffer.from(forgery.bytes).equals(sealed)
  if (isSame !== (fault === undefined) && !isSealed(forgery.bytes))
    throw new Error(
      isSame ? `an unchanged file has a fault: ${fault?.reason}` : 'a changed file has no fault',
    )
  const files = new ChunkFiles({
    disk,
    directory: chunkDirectory,
    clusterId: someClusterId,
    openFilesMax: 2,
    indexCacheBytesMax: 10_000,
  })
  const outcomes: ('served' | 'refused')[] = []
  for (const read of reads) {
    outcomes.push(await tryRead(files, forgery, read))
    await tryTime(files, forgery, read)
  }
  await files.close()
  return outcomes
}

async function tryRead(
  files: ChunkFiles,
  forgery: Forgery,
  read: ChunkRecipe['reads'][number],
): Promise<'served' | 'refused'> {
  const { topicId, partition, section } = chosen(forgery.sections, read.section)
  const offset = section.baseOffset + (read.offset % Math.max(1, section.endOffset - section.baseOffset))
  if (!(offset >= section.baseOffset && offset < section.endOffset)) return 'refused'
  const address = { chunkId: CHUNK_ID, topicId, partition, section }
  try {
    const { buffers, nextOffset } = await files.read({ ...address, offset, maxBytes: read.maxBytes })
    const bytes = new Uint8Array(Buffer.concat(buffers))
    assertEntries(bytes, { topicId, partition, section })
    if (!forgery.isForged)
      assertSealed(bytes, { section: sections[read.section % sections.length] as OwnedSection, offset })
    if (!(nextOffset > offset)) throw new Error(`a read from ${offset} says to go on at ${nextOffset}`)
    return 'served'
  } catch (error) {
    if (error instanceof ChunkCorruption) return 'refused'
    throw error
  }
}

async function tryTime(
  files: ChunkFiles,
  forgery: Forgery,
  read: ChunkRecipe['reads'][number],
): Promise<void> {
  const { topicId, partition, section } = chosen(forgery.sections, read.section)
  const address = { chunkId: CHUNK_ID, topicId, partition, section }
  try {
    const found = await files.findTime({ ...address, time: section.minAppendTime + (read.offset % 20) })
    if (!(found >= section.baseOffset && found <= section.endOffset))
      throw new Error(`a time is at offset ${found}`)
  } catch (error) {
    if (!(error instanceof ChunkCorruption)) throw error
  }
}

/** Every entry verifies and is of this partition, in order. */
function assertEntries(bytes: Uint8Array, { topicId, partition, section }: OwnedSection): void {
  let next = section.baseOffset
  for (let at = 0; at < bytes.length; ) {
    const header = readEntryHeader(bytes, at)
    const fault = entryFault(bytes, header, at)
    if (
      fault !== undefined ||
      header.topicId !== topicId ||
      header.partition !== partition ||
      header.baseOffset < next
    )
      throw new Error(`an entry was read that ${fault ?? 'belongs elsewhere'}`)
    next = header.baseOffset + header.lastOffsetDelta + 1
    if (next > section.endOffset) throw new Error('an entry was read that ends past its section')
    at += entryBytes(header)
  }
}

/** The bytes are those that were sealed from the entry on that holds the offset. */
function assertSealed(
  bytes: Uint8Array,
  { section: owned, offset }: { section: OwnedSection; offset: number },
): void {
  let at = owned.section.byteStart
  for (; at < owned.section.byteEnd; ) {
    const header = readEntryHeader(sealed, at)
    if (header.baseOffset + header.lastOffsetDelta >= offset) break
    at += entryBytes(header)
  }
  if (!Buffer.from(bytes).equals(sealed.subarray(at, at + bytes.length)))
    throw new Error(`a read from ${offset} gave other bytes than were sealed`)
}

// --- What is done to it: bytes and fields as chunks/README.md draws them ---

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const FIELD_BYTES = { u16: 2, u32: 4, u64: 8 } as const
type Field = readonly [at: number, kind: keyof typeof FIELD_BYTES]

const ENTRY_FIELDS: readonly Field[] = [
  [6, 'u16'],
  [16, 'u64'],
  [32, 'u32'],
  [36, 'u32'],
  [40, 'u64'],
  [48, 'u64'],
  [64, 'u64'],
  [84, 'u32'],
  [88, 'u32'],
  [92, 'u32'],
  [96, 'u32'],
  [104, 'u64'],
]
const INDEX_FIELDS: readonly Field[] = [
  [4, 'u32'],
  [8, 'u64'],
  [24, 'u32'],
  [32, 'u64'],
  [40, 'u64'],
  [48, 'u64'],
  [56, 'u64'],
  [64, 'u64'],
  [72, 'u64'],
]
const TABLE_FIELDS: readonly Field[] = [
  [0, 'u64'],
  [16, 'u32'],
  [20, 'u32'],
  [24, 'u64'],
  [32, 'u64'],
  [40, 'u64'],
  [48, 'u64'],
  [56, 'u64'],
  [64, 'u64'],
  [72, 'u64'],
  [80, 'u64'],
  [88, 'u64'],
]
const HEADER_FIELDS: readonly Field[] = [
  [4, 'u16'],
  [6, 'u16'],
  [8, 'u64'],
  [24, 'u64'],
  [32, 'u32'],
  [36, 'u64'],
]
const FOOTER_FIELDS: readonly Field[] = [
  [4, 'u16'],
  [8, 'u32'],
  [16, 'u64'],
  [24, 'u64'],
  [32, 'u64'],
  [40, 'u64'],
]
const TABLE_ROW_BYTES = 104

function lieAt(bytes: Uint8Array, start: number, fields: readonly Field[], { at, n }: ChunkChange): void {
  const [offset, kind] = chosen(fields, at)
  const data = viewOf(bytes)
  const place = start + offset
  if (start < 0 || place + FIELD_BYTES[kind] > bytes.length) return
  if (kind === 'u16')
    data.setUint16(place, otherNumber(data.getUint16(place, true), n, { max: 0xffff }), true)
  else if (kind === 'u32')
    data.setUint32(place, otherNumber(data.getUint32(place, true), n, { max: 0xffff_ffff }), true)
  else {
    const value = data.getBigUint64(place, true)
    const odd = [
      value + 1n,
      value - 1n,
      0n,
      2n ** 64n - 1n,
      2n ** 53n,
      2n ** 53n - 1n,
      value * 2n,
      value ^ 0x100n,
    ]
    data.setBigUint64(place, BigInt.asUintN(64, chosen(odd, n)), true)
  }
}

function apply(forgery: Forgery, change: ChunkChange): void {
  const { bytes } = forgery
  const { section } = chosen(sections, change.section)
  const footerAt = bytes.length - 64
  const tableStart = sealed.length - 64 - sections.length * TABLE_ROW_BYTES
  const rowStart = tableStart + (change.section % sections.length) * TABLE_ROW_BYTES
  const entries = entriesOf(section)
  const entry = chosen(entries, change.at)
  const elsewhere = entriesOf(chosen(sections, change.section + 1).section)
  const changes: readonly (() => void)[] = [
    () => {
      lieAt(bytes, 0, HEADER_FIELDS, change)
      sealWith(bytes, { crcAt: 60, start: 0, end: 60 })
    },
    () => {
      lieAt(bytes, entry, ENTRY_FIELDS, change)
      sealEntry(bytes, entry)
      forgery.isForged = true
    },
    () => lieAt(bytes, entry, ENTRY_FIELDS, change),
    () => {
      lieAt(bytes, section.indexStart, INDEX_FIELDS, change)
      sealIndex(bytes, section)
      // Reads begin where it says: what it passes over looks like a gap.
      forgery.isForged = true
    },
    () => {
      lieAt(bytes, rowStart, TABLE_FIELDS, change)
      sealTable(bytes, tableStart)
    },
    () => {
      lieAt(bytes, footerAt, FOOTER_FIELDS, change)
      sealWith(bytes, { crcAt: footerAt + 60, start: footerAt, end: footerAt + 60 })
    },
    () => copyEntry(bytes, entry, chosen(entries, change.at + change.n + 1)),
    () => copyEntry(bytes, entry, chosen(elsewhere, change.at)),
    () => {
      forgery.bytes = new Uint8Array(bytes.subarray(0, Math.max(0, bytes.length - 1 - change.n * 13)))
    },
    () => {
      forgery.bytes = new Uint8Array(Buffer.concat([bytes, another.subarray(0, 1 + change.n)]))
    },
    () => {
      const part = another.subarray(entry, Math.min(bytes.length, entry + change.n * 8))
      if (entry + part.length <= bytes.length) bytes.set(part, entry)
      // The bytes of another chunk of this partition are as right as its own.
      forgery.isForged = true
    },
    () => lieOfSection(forgery, change),
  ]
  chosen(changes, change.what)()
}

/** The manifest says something else of the section than the file does. */
function lieOfSection(forgery: Forgery, { section, at, n }: ChunkChange): void {
  const index = section % sections.length
  const owned = forgery.sections[index] as OwnedSection
  const names = [
    'byteStart',
    'byteEnd',
    'indexStart',
    'indexBytes',
    'baseOffset',
    'endOffset',
    'minAppendTime',
  ] as const
  const name = chosen<keyof ChunkSection>(names, at)
  const value = owned.section[name] as number
  const near = name === 'indexBytes' ? otherNumber(value, n, { max: 4_096 }) : otherNumber(value, n % 3)
  const lied = { ...owned.section, [name]: near }
  // What the manifest does not load is never read by.
  const isLoaded =
    lied.baseOffset < lied.endOffset && lied.byteStart < lied.byteEnd && lied.indexStart >= lied.byteEnd
  if (!isLoaded) return
  forgery.sections[index] = { ...owned, section: lied }
  forgery.isForged = true
}

function entriesOf({ byteStart, byteEnd }: ChunkSection): number[] {
  const starts: number[] = []
  for (let at = byteStart; at < byteEnd; at += entryBytes(readEntryHeader(sealed, at))) starts.push(at)
  return starts
}

function copyEntry(bytes: Uint8Array, to: number, from: number): void {
  const length = entryBytes(readEntryHeader(sealed, from))
  if (to + length <= bytes.length) bytes.set(sealed.subarray(from, from + length), to)
}

function sealWith(
  bytes: Uint8Array,
  { crcAt, start, end }: { crcAt: number; start: number; end: number },
): void {
  if (start >= 0 && crcAt + 4 <= bytes.length)
    viewOf(bytes).setUint32(crcAt, crc32(bytes.subarray(start, end)), true)
}

function sealEntry(bytes: Uint8Array, at: number): void {
  if (at + 112 > bytes.length) return
  const data = viewOf(bytes)
  const prefix = data.getUint32(at, true) ^ data.getUint32(at + 4, true)
  data.setUint32(at + 8, crc32(bytes.subarray(at + 12, at + 112), prefix >>> 0), true)
}

function sealIndex(bytes: Uint8Array, { indexStart, indexBytes }: ChunkSection): void {
  if (indexStart + indexBytes > bytes.length) return
  const head = crc32(bytes.subarray(indexStart, indexStart + 28))
  const crc = crc32(bytes.subarray(indexStart + 32, indexStart + indexBytes), head)
  viewOf(bytes).setUint32(indexStart + 28, crc, true)
}

function sealTable(bytes: Uint8Array, tableStart: number): void {
  const footerAt = bytes.length - 64
  if (footerAt <= tableStart) return
  viewOf(bytes).setUint32(footerAt + 12, crc32(bytes.subarray(tableStart, footerAt)), true)
  sealWith(bytes, { crcAt: footerAt + 60, start: footerAt, end: footerAt + 60 })
}

/**
 * The sealed file but for the interval of its header, under which the index may be the same, and for bytes that nobody
 * uses yet: whoever changes those and makes the checksums right is a later version.
 */
function isSealed(bytes: Uint8Array): boolean {
  if (bytes.length !== sealed.length) return false
  const copy = new Uint8Array(bytes)
  const footerAt = sealed.length - 64
  for (const [from, to] of [
    [6, 8],
    [32, 64],
    [footerAt + 6, footerAt + 8],
    [footerAt + 40, footerAt + 64],
  ] as const)
    copy.set(sealed.subarray(from, to), from)
  return Buffer.from(copy).equals(sealed)
}
