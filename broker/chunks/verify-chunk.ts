import { join } from 'node:path'
import { crc32 } from '#crc32'
import { ENTRY_HEADER_BYTES, entryBytes, entryHeaderFault, readEntryHeader } from '../../protocol/entry.js'
import type { ClusterId } from '../../protocol/ids.js'
import { type Disk, DiskError, type DiskFile } from '../platform/disk.js'
import { ChunkCorruption, type ChunkFault } from './corruption.js'
import {
  CHUNK_FOOTER_BYTES,
  CHUNK_HEADER_BYTES,
  type ChunkFooter,
  type ChunkHeader,
  chunkFileName,
  decodeFooter,
  decodeHeader,
  decodeTable,
  type OwnedSection,
  SECTION_ROW_BYTES,
} from './format.js'
import { ForwardReader } from './forward-reader.js'
import { type ChunkSection, SectionBuilder } from './section.js'

export interface ChunkReport {
  readonly chunkId: number
  readonly bytes: number
  /** What the file holds; empty when its table cannot be trusted. */
  readonly sections: readonly OwnedSection[]
  /** The first thing that does not verify; undefined when every byte of the file does. */
  readonly fault: ChunkFault | undefined
}

/**
 * Reads a whole chunk file and accounts for every byte of it, with flat memory. Damage is reported, not thrown;
 * rejects with a DiskError when the disk cannot be read.
 */
export async function verifyChunk(options: {
  disk: Disk
  directory: string
  chunkId: number
  clusterId?: ClusterId
}): Promise<ChunkReport> {
  const { disk, directory, chunkId } = options
  const path = join(directory, chunkFileName(chunkId))
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (!(error instanceof DiskError && error.code === 'ENOENT')) throw error
    const fault = { file: path, byteOffset: 0, reason: 'the file is missing' }
    return { chunkId, bytes: 0, sections: [], fault }
  }
  try {
    return await new Verification(file, options).run(await file.size())
  } finally {
    await file.close()
  }
}

class Verification {
  readonly #file: DiskFile
  readonly #expected: { chunkId: number; clusterId?: ClusterId }
  #sections: OwnedSection[] = []

  constructor(file: DiskFile, expected: { chunkId: number; clusterId?: ClusterId }) {
    this.#file = file
    this.#expected = expected
  }

  async run(bytes: number): Promise<ChunkReport> {
    const { chunkId } = this.#expected
    try {
      await this.#check(bytes)
      return { chunkId, bytes, sections: this.#sections, fault: undefined }
    } catch (error) {
      if (!(error instanceof ChunkCorruption)) throw error
      return { chunkId, bytes, sections: this.#sections, fault: error.fault }
    }
  }

  async #check(fileBytes: number): Promise<void> {
    const { indexIntervalBytes } = await this.#header()
    const footer = await this.#footer(fileBytes)
    await this.#table(footer, fileBytes)
    const reader = new ForwardReader(this.#file, { start: CHUNK_HEADER_BYTES, end: footer.tableStart })
    for (const owned of this.#sections) await this.#section(reader, owned, indexIntervalBytes)
    if (reader.position !== footer.tableStart) {
      this.#fail(reader.position, `${footer.tableStart - reader.position} bytes belong to no section`)
    }
  }

  async #header(): Promise<ChunkHeader> {
    const header = decodeHeader(await this.#bytes(0, CHUNK_HEADER_BYTES))
    if (typeof header === 'string') this.#fail(0, header)
    const { chunkId, clusterId } = this.#expected
    if (header.chunkId !== chunkId) this.#fail(0, `it is the file of chunk ${chunkFileName(header.chunkId)}`)
    if (clusterId !== undefined && header.clusterId !== clusterId) {
      this.#fail(0, `it belongs to another cluster, ${header.clusterId}`)
    }
    return header
  }

  async #footer(fileBytes: number): Promise<ChunkFooter> {
    const at = Math.max(fileBytes - CHUNK_FOOTER_BYTES, 0)
    const footer = decodeFooter(await this.#bytes(at, CHUNK_FOOTER_BYTES))
    if (typeof footer === 'string') this.#fail(at, footer)
    if (footer.chunkId !== this.#expected.chunkId) this.#fail(at, 'the footer belongs to another chunk')
    if (footer.fileBytes !== fileBytes) {
      this.#fail(at, `the file has ${fileBytes} bytes, its footer says ${footer.fileBytes}`)
    }
    return footer
  }

  async #table({ sections, tableStart, tableCrc }: ChunkFooter, fileBytes: number): Promise<void> {
    const tableBytes = sections * SECTION_ROW_BYTES
    if (tableStart + tableBytes + CHUNK_FOOTER_BYTES !== fileBytes) {
      this.#fail(tableStart, 'the section table does not reach from its place to the footer')
    }
    const table = await this.#bytes(tableStart, tableBytes)
    if (crc32(table) !== tableCrc) this.#fail(tableStart, 'the CRC of the section table does not match')
    this.#sections = decodeTable(table)
  }

  async #section(reader: ForwardReader, owned: OwnedSection, indexIntervalBytes: number): Promise<void> {
    const { topicId, partition, section } = owned
    if (section.byteStart !== reader.position) {
      this.#fail(
        reader.position,
        `the next section should begin here, its table says at byte ${section.byteStart}`,
      )
    }
    const builder = new SectionBuilder({
      topicId,
      partition,
      byteStart: section.byteStart,
      indexIntervalBytes,
    })
    while (reader.position < section.byteEnd) await this.#entry(reader, builder, section.byteEnd)
    if (builder.isEmpty) this.#fail(section.byteStart, 'a section holds no entry')
    const found = builder.finish()
    await this.#index(reader, found.index)
    const wrong = (Object.keys(found.section) as (keyof ChunkSection)[]).find(
      (field) => found.section[field] !== section[field],
    )
    if (wrong) {
      this.#fail(
        section.byteStart,
        `the section's ${wrong} is ${found.section[wrong]}, its table says ${section[wrong]}`,
      )
    }
  }

  async #entry(reader: ForwardReader, builder: SectionBuilder, byteEnd: number): Promise<void> {
    const at = reader.position
    const headerBytes = await reader.peek(ENTRY_HEADER_BYTES)
    const fault = entryHeaderFault(headerBytes)
    if (fault) this.#fail(at, fault)
    const header = readEntryHeader(headerBytes)
    const misplaced = builder.fault(header)
    if (misplaced) this.#fail(at, misplaced)
    const bytes = entryBytes(header)
    if (at + bytes > byteEnd) this.#fail(at, 'an entry goes past its section')
    builder.add(headerBytes, header, bytes)
    reader.skip(ENTRY_HEADER_BYTES)
    if ((await reader.crc(header.sectionBytes)) !== header.sectionCrc) {
      this.#fail(at, "the CRC of an entry's section does not match")
    }
    if ((await reader.crc(header.payloadBytes)) !== header.payloadCrc) {
      this.#fail(at, "the CRC of an entry's payload does not match")
    }
  }

  /** The index must be exactly the one that the entries give. */
  async #index(reader: ForwardReader, expected: Uint8Array): Promise<void> {
    const at = reader.position
    for (let done = 0; done < expected.length; ) {
      const part = await reader.peekUpTo(expected.length - done)
      if (part.length === 0) this.#fail(at, 'a sparse index is cut short')
      if (Buffer.compare(part, expected.subarray(done, done + part.length)) !== 0) {
        this.#fail(at, 'a sparse index does not fit its entries')
      }
      reader.skip(part.length)
      done += part.length
    }
  }

  async #bytes(position: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    return bytes.subarray(0, await this.#file.read(bytes, position))
  }

  #fail(byteOffset: number, reason: string): never {
    throw new ChunkCorruption({ file: this.#file.path, byteOffset, reason })
  }
}
