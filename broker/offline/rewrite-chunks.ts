import { crc32 } from '#crc32'
import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  NO_PRODUCER_ID,
  readEntryHeader,
  writeEntryHeader,
} from '../../protocol/entry.js'
import type { ClusterId, TopicId } from '../../protocol/ids.js'
import { ChunkWriter } from '../chunks/chunk-writer.js'
import type { ChunkRow } from '../manifest/rows.js'
import type { Disk } from '../platform/disk.js'
import { isLost, type OffsetRange, type Stretch } from './coverage.js'
import { FileWindow } from './file-window.js'

const sectionBytesMax = 8 * 1024 * 1024
const fileBytesMax = 64 * 1024 * 1024
/** What lastOffsetDelta can say. */
const offsetsPerEntryMax = 0xffff_ffff
const emptyPayload = Uint8Array.of(0x90)

export interface RewriteOptions {
  readonly disk: Disk
  readonly directory: string
  readonly clusterId: ClusterId
  /** The first of the ids that may be used. */
  readonly chunkId: number
}

/**
 * Writes new chunk files of entries that stand elsewhere. A range of offsets that is lost becomes an entry without
 * records: readers pass over it, and the log has no hole that anything else would have to know of.
 */
export class ChunkRewrite {
  readonly rows: ChunkRow[] = []
  readonly #options: RewriteOptions
  readonly #sources = new Map<string, FileWindow>()
  #writer: ChunkWriter | undefined
  #chunkId: number

  constructor(options: RewriteOptions) {
    this.#options = options
    this.#chunkId = options.chunkId
  }

  /** Writes one range of a partition, which follows an entry appended at `time`. */
  async write(
    owner: { topicId: TopicId; partition: number },
    stretches: readonly Stretch[],
    time: number,
  ): Promise<void> {
    let appendTime = time
    let sectionStart: number | undefined
    for (const stretch of stretches.flatMap(splitLost)) {
      if (this.#writer === undefined) {
        const { disk, directory, clusterId } = this.#options
        this.#writer = await ChunkWriter.create({ disk, directory, clusterId, chunkId: this.#chunkId })
      }
      if (sectionStart === undefined) {
        this.#writer.beginSection(owner)
        sectionStart = this.#writer.bytes
      }
      const entry = isLost(stretch) ? emptyEntry(owner, stretch, appendTime) : await this.#read(stretch)
      const header: EntryHeader = readEntryHeader(entry)
      await this.#writer.append(entry, header)
      appendTime = header.appendTime
      if (this.#writer.bytes - sectionStart < sectionBytesMax) continue
      await this.#endSection(owner)
      sectionStart = undefined
    }
    if (sectionStart !== undefined) await this.#endSection(owner)
  }

  async finish(): Promise<void> {
    await this.#writer?.finish()
    this.#writer = undefined
    for (const source of this.#sources.values()) await source.close()
    this.#sources.clear()
  }

  async #endSection(owner: { topicId: TopicId; partition: number }): Promise<void> {
    const writer = this.#writer as ChunkWriter
    this.rows.push({ ...owner, chunkId: this.#chunkId, section: await writer.endSection() })
    if (writer.bytes < fileBytesMax) return
    await writer.finish()
    this.#writer = undefined
    this.#chunkId++
  }

  async #read(entry: Exclude<Stretch, OffsetRange>): Promise<Uint8Array> {
    let source = this.#sources.get(entry.path)
    if (source === undefined) {
      source = await FileWindow.open(this.#options.disk, entry.path)
      this.#sources.set(entry.path, source)
    }
    return (await source.view(entry.position, entry.bytes)).slice()
  }
}

function splitLost(stretch: Stretch): Stretch[] {
  if (!isLost(stretch)) return [stretch]
  const parts: OffsetRange[] = []
  for (let from = stretch.from; from < stretch.to; from += offsetsPerEntryMax) {
    parts.push({ from, to: Math.min(stretch.to, from + offsetsPerEntryMax) })
  }
  return parts
}

function emptyEntry(
  owner: { topicId: TopicId; partition: number },
  { from, to }: OffsetRange,
  appendTime: number,
): Uint8Array {
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + emptyPayload.length)
  bytes.set(emptyPayload, ENTRY_HEADER_BYTES)
  writeEntryHeader(bytes, 0, {
    ...owner,
    attributes: 0,
    payloadCrc: crc32(emptyPayload),
    baseOffset: from,
    lastOffsetDelta: to - from - 1,
    recordCount: 0,
    appendTime,
    baseTimestamp: appendTime,
    producerId: NO_PRODUCER_ID,
    producerEpoch: 0,
    baseSequence: 0,
    sectionBytes: 0,
    sectionCrc: 0,
    payloadBytes: emptyPayload.length,
    inflatedBytes: emptyPayload.length,
  })
  return bytes
}
