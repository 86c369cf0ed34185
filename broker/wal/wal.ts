import { alignedMemory } from '../platform/aligned-memory.js'
import type { Disk, DiskFile } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import type { WalCommand } from './command.js'
import {
  alignUp,
  DIRECTORY_ROW_BYTES,
  encodeSegmentEnd,
  GROUP_ALIGN_BYTES,
  GROUP_FLAG,
  GROUP_HEADER_BYTES,
  groupBytes,
  writeDirectoryRow,
  writeGroupHeader,
} from './group.js'
import type { WalEnd, WalIdentity } from './position.js'
import type { ScannedGroup } from './scan.js'
import { SEGMENT_HEADER_BYTES, type SegmentHeader } from './segment.js'
import { SegmentFiles } from './segment-files.js'
import type { Slab, SlabPool } from './slab.js'
import { endSuperseded } from './superseded.js'

export interface WalOptions {
  readonly disk: Disk
  readonly directory: string
  readonly identity: WalIdentity
  readonly shardEpoch: number
  readonly segmentBytes: number
  readonly sparesMax: number
  readonly keptBytesMax?: number
  readonly bytesMax?: number
  readonly slabs: SlabPool
  readonly random: Random
  readonly failpoints: Failpoints
  readonly metrics: Metrics
}

/** A group that is on disk. Its slab is retained for the receiver, who must release it. */
export interface CommittedGroup {
  readonly sequence: number
  readonly headerCrc: number
  readonly time: number
  readonly segment: number
  /** Of the group's first byte in the segment. */
  readonly position: number
  readonly slab: Slab
  readonly slabPosition: number
  /** Bytes with padding. */
  readonly bytes: number
  /** Where each command's body begins, from the group's first byte. */
  readonly bodyStarts: readonly number[]
}

/**
 * The write end of a WAL. One commit at a time: the caller waits for one before it begins the next. After an error
 * nothing may be written any more: the page cache may differ from the disk, and only a new process can find out.
 */
export class Wal {
  readonly files: SegmentFiles
  readonly #options: WalOptions
  #file: DiskFile
  #segment: SegmentHeader
  #position: number
  #sequence: number
  #headerCrc: number
  #slab: Slab | undefined
  #isCommitting = false
  #poisoned: unknown

  private constructor(options: WalOptions, files: SegmentFiles, file: DiskFile, end: WalEnd) {
    this.#options = options
    this.files = files
    this.#file = file
    this.#segment = end.segment
    this.#position = end.position
    this.#sequence = end.sequence
    this.#headerCrc = end.headerCrc
  }

  /** The WAL of a new data directory. */
  static async createFirst(options: WalOptions): Promise<Wal> {
    await options.disk.makeDirectory(options.directory)
    const files = filesOf(options)
    await files.adoptSpares()
    const segment = newSegment(options, { number: 1, firstSequence: 1, previousCrc: 0, provenSequence: 0 })
    const file = await files.create(segment)
    return new Wal(options, files, file, {
      sequence: 0,
      headerCrc: 0,
      segment,
      position: SEGMENT_HEADER_BYTES,
    })
  }

  /** Goes on behind the last group: only after a clean stop, when that group is known to be on disk. */
  static async continueAt(
    options: WalOptions,
    segments: readonly SegmentHeader[],
    end: WalEnd,
  ): Promise<Wal> {
    const files = filesOf(options)
    for (const segment of segments) files.add(segment)
    await files.adoptSpares()
    const file = await files.open(end.segment.number)
    return new Wal(options, files, file, end)
  }

  /**
   * Goes on in a fresh segment that begins with a copy of the last group. After a crash the page cache may hold a
   * group that the disk does not; once the copy is written it is on disk for certain. Nothing that follows from the
   * last group may be done before this resolves; only then may the files of unused segments be removed.
   */
  static async continueAfresh(
    options: WalOptions,
    found: {
      segments: readonly SegmentHeader[]
      end: WalEnd
      lastGroup: ScannedGroup | undefined
      numberMin: number
    },
  ): Promise<{ wal: Wal; rewritten: { segment: number; position: number } | undefined }> {
    const files = filesOf(options)
    for (const segment of found.segments) files.add(segment)
    await files.adoptSpares()
    const last = found.lastGroup
    const firstSequence = last?.header.sequence ?? found.end.sequence + 1
    const place = {
      number: Math.max(found.numberMin, ...found.segments.map(({ number }) => number + 1)),
      firstSequence,
      previousCrc: last?.header.previousCrc ?? found.end.headerCrc,
      // Each group was begun when the one before it had been written, so only the last may be in the page cache alone.
      provenSequence: firstSequence - 1,
    }
    const segment = newSegment(options, place, last?.bytes.length)
    await options.failpoints.hit('recoverBeforeRewrite')
    const file = await files.create(segment)
    let end: WalEnd = { ...found.end, segment, position: SEGMENT_HEADER_BYTES }
    if (last !== undefined) {
      const group = alignedMemory(last.bytes.length)
      group.set(last.bytes)
      // The segment that the flag announced is gone: this copy is not at the end of anything.
      const header = { ...last.header, flags: last.header.flags & ~GROUP_FLAG.segmentEnd }
      const headerCrc = writeGroupHeader(group, 0, header, segment.salt)
      await file.write([group], SEGMENT_HEADER_BYTES)
      end = {
        sequence: last.header.sequence,
        headerCrc,
        segment,
        position: SEGMENT_HEADER_BYTES + group.length,
      }
    }
    await endSuperseded(options, files.path(found.end.segment.number), found)
    const rewritten = last && { segment: segment.number, position: SEGMENT_HEADER_BYTES }
    return { wal: new Wal(options, files, file, end), rewritten }
  }

  get end(): { sequence: number; headerCrc: number } {
    return { sequence: this.#sequence, headerCrc: this.#headerCrc }
  }

  get segmentNumber(): number {
    return this.#segment.number
  }

  /**
   * Bodies and directory rows of the largest group that fits a segment, between its header and the group that ends it.
   * A larger one is written all the same: into a segment of its own size.
   */
  get groupBytesMax(): number {
    return this.#options.segmentBytes - SEGMENT_HEADER_BYTES - GROUP_ALIGN_BYTES - GROUP_HEADER_BYTES
  }

  /** Writes one group and returns when it is on disk. No commands make a group that only proves the one before it. */
  async commit(group: {
    commands: readonly WalCommand[]
    time: number
    /** The planted fault `visibleBeforeDurable`: called when the write begins. */
    begun?: (group: CommittedGroup) => void
  }): Promise<CommittedGroup> {
    if (this.#poisoned !== undefined) throw this.#poisoned
    if (this.#isCommitting) throw new Error('a commit was begun before the last one had returned')
    this.#isCommitting = true
    try {
      return await this.#commit(group)
    } catch (error) {
      this.#poisoned = error
      throw error
    } finally {
      this.#isCommitting = false
    }
  }

  async #commit(group: Parameters<Wal['commit']>[0]): Promise<CommittedGroup> {
    let bodyBytes = 0
    for (const command of group.commands) bodyBytes += command.byteLength
    const bytes = groupBytes(group.commands.length, bodyBytes)
    const paddedBytes = alignUp(bytes)
    if (this.#position + paddedBytes + GROUP_ALIGN_BYTES > this.#segment.bytes)
      await this.#roll(group.time, paddedBytes)

    const { slab, start } = this.#room(paddedBytes)
    this.#options.slabs.retain(slab)
    try {
      const { headerCrc, bodyStarts } = this.#encode(slab.buffer, start, { ...group, bytes })
      const committed: CommittedGroup = {
        sequence: this.#sequence + 1,
        headerCrc,
        time: group.time,
        segment: this.#segment.number,
        position: this.#position,
        slab,
        slabPosition: start,
        bytes: paddedBytes,
        bodyStarts,
      }
      if (this.#options.failpoints.planted === 'visibleBeforeDurable') group.begun?.(committed)
      await this.#write(slab.buffer.subarray(start, start + paddedBytes))
      this.#position += paddedBytes
      this.#sequence = committed.sequence
      this.#headerCrc = headerCrc
      return committed
    } catch (error) {
      this.#options.slabs.release(slab)
      throw error
    }
  }

  async #write(group: Uint8Array): Promise<void> {
    const { failpoints, metrics } = this.#options
    const before = failpoints.hit('walBeforeWrite')
    if (before) await before
    const startedMs = performance.now()
    const writing = this.#file.write([group], this.#position)
    await (failpoints.planted === 'writeErrorIgnored' ? writing.catch(() => {}) : writing)
    metrics.observe('walWriteMs', performance.now() - startedMs)
    metrics.observe('walGroupBytes', group.length)
    metrics.count('walGroups')
    metrics.count('walBytes', group.length)
    const after = failpoints.hit('walAfterWrite')
    if (after) await after
  }

  /** Fills `target` from `start` on with the next group in sequence. */
  #encode(
    target: Uint8Array,
    start: number,
    group: { commands: readonly WalCommand[]; time: number; bytes: number },
  ): { headerCrc: number; bodyStarts: number[] } {
    const bodyStarts: number[] = []
    let byteStart = GROUP_HEADER_BYTES + group.commands.length * DIRECTORY_ROW_BYTES
    for (const [index, command] of group.commands.entries()) {
      const bodyCrc = command.writeBody(target, start + byteStart)
      writeDirectoryRow(target, start + GROUP_HEADER_BYTES + index * DIRECTORY_ROW_BYTES, {
        opcode: command.opcode,
        record: command.record,
        byteStart,
        byteLength: command.byteLength,
        bodyCrc,
        topicId: command.topicId,
        partition: command.partition,
        baseOffset: command.baseOffset,
        recordCount: command.recordCount,
      })
      bodyStarts.push(byteStart)
      byteStart += command.byteLength
    }
    target.fill(0, start + byteStart, start + alignUp(byteStart))
    const headerCrc = writeGroupHeader(
      target,
      start,
      {
        ...this.#options.identity,
        shardEpoch: this.#options.shardEpoch,
        sequence: this.#sequence + 1,
        flags: 0,
        bytes: group.bytes,
        commandCount: group.commands.length,
        time: group.time,
        previousCrc: this.#headerCrc,
      },
      this.#segment.salt,
    )
    return { headerCrc, bodyStarts }
  }

  #room(bytes: number): { slab: Slab; start: number } {
    const { slabs } = this.#options
    if (this.#slab === undefined || this.#slab.free < bytes) {
      if (this.#slab !== undefined) slabs.release(this.#slab)
      this.#slab = slabs.take(bytes)
    }
    const start = this.#slab.used
    this.#slab.used += bytes
    return { slab: this.#slab, start }
  }

  /**
   * Moves to the next segment: it is created and named first, then the last group of this one says that it exists.
   * Whoever reads that group and finds no next segment knows that a file is missing.
   */
  async #roll(time: number, nextGroupBytes: number): Promise<void> {
    const { failpoints, metrics, identity, shardEpoch } = this.#options
    await failpoints.hit('walBeforeRoll')
    if (this.#position + GROUP_ALIGN_BYTES > this.#segment.bytes)
      throw new Error('a segment has no room for its end')
    const sequence = this.#sequence + 1
    const header = { ...identity, shardEpoch, sequence, time, previousCrc: this.#headerCrc }
    const { slab, start } = this.#room(GROUP_ALIGN_BYTES)
    const target = slab.buffer.subarray(start, start + GROUP_ALIGN_BYTES)
    const { group, headerCrc } = encodeSegmentEnd(header, this.#segment.salt, target)
    const place = {
      number: this.#segment.number + 1,
      firstSequence: sequence + 1,
      previousCrc: headerCrc,
      provenSequence: this.#sequence,
    }
    const next = newSegment(this.#options, place, nextGroupBytes)
    const file = await this.files.create(next)
    try {
      await failpoints.hit('walAfterRollHeader')
      await this.#file.write([group], this.#position)
    } catch (error) {
      await file.close()
      throw error
    }
    await this.#file.close()
    this.#file = file
    this.#segment = next
    this.#position = SEGMENT_HEADER_BYTES
    this.#sequence = sequence
    this.#headerCrc = headerCrc
    metrics.count('walRolls')
    // A spare that could not be made now (a full disk) is made when it is needed.
    this.files.restock().catch(() => {})
  }

  /**
   * Recycles the segments whose groups are all at or below `sequence`, oldest first. The current one stays.
   * Returns how many went. Not re-entrant; commits may go on.
   */
  async trim(sequence: number): Promise<number> {
    let count = 0
    for (;;) {
      const [oldest, next] = this.files.headers
      if (oldest === undefined || next === undefined || next.firstSequence > sequence + 1) return count
      if (oldest.number === this.#segment.number) return count
      await this.#options.failpoints.hit('trimBeforeRecycle')
      await this.files.retire(oldest.number)
      count++
    }
  }

  /** After the last commit has returned. Slabs that were handed out stay their receivers'. */
  async close(): Promise<void> {
    this.#poisoned ??= new Error('the WAL is closed')
    if (this.#slab !== undefined) this.#options.slabs.release(this.#slab)
    this.#slab = undefined
    await this.#file.close()
    await this.files.close()
  }
}

const filesOf = (options: WalOptions): SegmentFiles => new SegmentFiles(options)

/** A header with a salt of its own. The segment is large enough for a first group of `groupBytes`, however small others are. */
function newSegment(
  options: WalOptions,
  place: Pick<SegmentHeader, 'number' | 'firstSequence' | 'previousCrc' | 'provenSequence'>,
  groupBytes = 0,
): SegmentHeader {
  return {
    ...options.identity,
    ...place,
    bytes: Math.max(options.segmentBytes, SEGMENT_HEADER_BYTES + groupBytes + GROUP_ALIGN_BYTES),
    shardEpoch: options.shardEpoch,
    salt: options.random.uint32(),
  }
}
