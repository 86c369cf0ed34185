import { join } from 'node:path'
import { alignedMemory } from '../platform/aligned-memory.js'
import { DIRECT_ALIGN_BYTES, type Disk, type DiskFile } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import {
  encodeSegmentHeader,
  type SegmentHeader,
  segmentFileName,
  spareFileName,
  spareNumber,
} from './segment.js'

const ZEROS = alignedMemory(1024 * 1024)

interface OpenSegment {
  readonly header: SegmentHeader
  reader: Promise<DiskFile> | undefined
  pins: number
  /** Set once the segment is no longer part of the WAL; runs with the last pin. */
  whenUnpinned: (() => void) | undefined
}

/**
 * The files of a WAL: the segments that are part of it, with one read descriptor each, and spares that wait to become
 * segments. A read pins its segment, so that no recycling changes the bytes under it.
 */
export class SegmentFiles {
  readonly #disk: Disk
  readonly directory: string
  readonly #segmentBytes: number
  readonly #sparesMax: number
  readonly #keptBytesMax: number
  readonly #bytesMax: number
  readonly #failpoints: Failpoints | undefined
  readonly #segments = new Map<number, OpenSegment>()
  #spares: string[] = []
  #nextSpare = 1
  #preparing: Promise<void> | undefined

  /**
   * `keptBytesMax`: trimmed segments become spares, beyond `sparesMax` too, while the files together have less.
   * `bytesMax`: no spare is kept or made ahead that brings them to it.
   */
  constructor(options: {
    disk: Disk
    directory: string
    segmentBytes: number
    sparesMax: number
    keptBytesMax?: number
    bytesMax?: number
    failpoints?: Failpoints
  }) {
    this.#disk = options.disk
    this.directory = options.directory
    this.#segmentBytes = options.segmentBytes
    this.#sparesMax = options.sparesMax
    this.#keptBytesMax = options.keptBytesMax ?? 0
    this.#bytesMax = options.bytesMax ?? Number.POSITIVE_INFINITY
    this.#failpoints = options.failpoints
  }

  path(number: number): string {
    return join(this.directory, segmentFileName(number))
  }

  /** Segments of the WAL, oldest first. */
  get headers(): SegmentHeader[] {
    return [...this.#segments.values()].map(({ header }) => header)
  }

  /** Size of the segments, spares not counted. */
  get totalBytes(): number {
    return this.bytesFrom(0)
  }

  /** Size of this segment and those after it. */
  bytesFrom(number: number): number {
    let bytes = 0
    for (const { header } of this.#segments.values()) if (header.number >= number) bytes += header.bytes
    return bytes
  }

  add(header: SegmentHeader): void {
    this.#segments.set(header.number, { header, reader: undefined, pins: 0, whenUnpinned: undefined })
  }

  /** Takes over spares that an earlier run left; a half-made one is removed. */
  async adoptSpares(): Promise<void> {
    for (const name of await this.#disk.list(this.directory)) {
      const number = spareNumber(name)
      if (number === undefined) continue
      this.#nextSpare = Math.max(this.#nextSpare, number + 1)
      const path = join(this.directory, name)
      if (!this.#isStockFull && (await this.#isWhole(path))) this.#spares.push(path)
      else await this.#disk.remove(path)
    }
    // A killed process may have recycled a segment whose old name is still on disk: before its header changes it must
    // be a spare there too, or a crash brings back the old name over the new header.
    await this.#disk.syncDirectory(this.directory)
  }

  async #isWhole(path: string): Promise<boolean> {
    const file = await this.#disk.open(path, 'readWrite')
    try {
      if ((await file.size()) !== this.#segmentBytes) return false
      // A killed process may have left its size in the page cache alone, and a segment that shrinks looks damaged.
      await file.sync()
      return true
    } finally {
      await file.close()
    }
  }

  /**
   * Makes the next segment out of a spare. Its header is on disk before it gets its name, and the name before anything
   * is written to it. Returns the file, open for groups.
   */
  async create(header: SegmentHeader): Promise<DiskFile> {
    const isUsual = header.bytes === this.#segmentBytes
    const spare = isUsual ? await this.#takeSpare() : await this.#writeZeros(header.bytes)
    const file = await this.#disk.open(spare, 'durable')
    await file.write([encodeSegmentHeader(header)], 0)
    await file.close()
    await this.#disk.rename(spare, this.path(header.number))
    await this.#disk.syncDirectory(this.directory)
    this.add(header)
    return this.open(header.number)
  }

  /** Opens a segment for groups, which lie in aligned memory and are padded to whole pages. */
  open(number: number): Promise<DiskFile> {
    const isDurable = this.#failpoints?.planted !== 'ackBeforeSync'
    return this.#disk.open(this.path(number), isDurable ? 'durableDirect' : 'readWrite')
  }

  async #takeSpare(): Promise<string> {
    if (this.#spares.length === 0) {
      await this.prepareSpare().catch((error: unknown) => {
        // Meanwhile a segment may have been recycled.
        if (this.#spares.length === 0) throw error
      })
    }
    const spare = this.#spares.shift()
    if (spare === undefined) throw new Error('no spare segment')
    return spare
  }

  /**
   * Adds a spare in the background while less than half of the stock is there. The other half is for segments that are
   * trimmed: recycling one costs nothing, and making one writes as much as the WAL itself.
   */
  restock(): Promise<void> {
    if (this.#spares.length >= this.#sparesMax / 2 || this.#isStockFull) return Promise.resolve()
    return this.prepareSpare()
  }

  /**
   * A partition with little to write pins segment after segment, and then lets go of them all: removed now, they would
   * have to be made again, each as much writing as the WAL itself.
   */
  get #isStockFull(): boolean {
    const coming = this.#preparing === undefined ? 0 : 1
    const count = this.#spares.length + coming
    const bytes = this.totalBytes + (count + 1) * this.#segmentBytes
    if (bytes >= this.#bytesMax) return true
    return count >= this.#sparesMax && bytes > this.#keptBytesMax
  }

  /** Writes one spare of zeros: an O_DSYNC write into written space costs half of one that makes the file grow. */
  prepareSpare(): Promise<void> {
    this.#preparing ??= this.#writeZeros(this.#segmentBytes)
      .then((path) => {
        this.#spares.push(path)
      })
      .finally(() => {
        this.#preparing = undefined
      })
    return this.#preparing
  }

  async #writeZeros(bytes: number): Promise<string> {
    const path = join(this.directory, spareFileName(this.#nextSpare++))
    const file = await this.#disk.open(path, bytes % DIRECT_ALIGN_BYTES === 0 ? 'createDirect' : 'create')
    try {
      for (let at = 0; at < bytes; at += ZEROS.length) {
        await file.write([ZEROS.subarray(0, Math.min(ZEROS.length, bytes - at))], at)
        // In pieces: where the page cache takes it, one long sync would stand in front of the WAL's own writes.
        if (at % (8 * ZEROS.length) === 0) await file.sync()
      }
      await file.sync()
    } catch (error) {
      await file.close()
      await this.#disk.remove(path).catch(() => {})
      throw error
    }
    await file.close()
    await this.#disk.syncDirectory(this.directory)
    return path
  }

  /** Reads from a segment that is part of the WAL; returns undefined when it no longer is. */
  async read(number: number, buffer: Uint8Array, position: number): Promise<number | undefined> {
    const segment = this.#segments.get(number)
    if (segment === undefined) return undefined
    segment.pins++
    try {
      const reader = await this.#readerOf(segment)
      return await reader.read(buffer, position)
    } finally {
      segment.pins--
      if (segment.pins === 0) segment.whenUnpinned?.()
    }
  }

  #readerOf(segment: OpenSegment): Promise<DiskFile> {
    segment.reader ??= this.#disk.open(this.path(segment.header.number), 'read').catch((error: unknown) => {
      // The next read tries again: too many open files is not for ever.
      segment.reader = undefined
      throw error
    })
    return segment.reader
  }

  /**
   * Takes the segment out of the WAL and recycles or removes its file once nobody reads it. One at a time, oldest
   * first: the segments on disk never have a hole.
   */
  async retire(number: number): Promise<void> {
    const segment = this.#segments.get(number)
    if (segment === undefined) return
    this.#segments.delete(number)
    if (segment.pins > 0) {
      await new Promise<void>((resolve) => {
        segment.whenUnpinned = resolve
      })
    }
    await (await segment.reader)?.close()
    const path = this.path(number)
    if (!this.#isStockFull && segment.header.bytes === this.#segmentBytes) {
      const spare = join(this.directory, spareFileName(this.#nextSpare++))
      await this.#disk.rename(path, spare)
      await this.#disk.syncDirectory(this.directory)
      this.#spares.push(spare)
    } else {
      await this.#disk.remove(path)
      await this.#disk.syncDirectory(this.directory)
    }
  }

  async close(): Promise<void> {
    await this.#preparing?.catch(() => {})
    for (const { reader } of this.#segments.values()) await (await reader?.catch(() => undefined))?.close()
    this.#segments.clear()
  }
}
