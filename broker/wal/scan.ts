import { join } from 'node:path'
import type { Disk } from '../platform/disk.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { WalCorruption } from './corruption.js'
import {
  damaged,
  type Expected,
  type FoundGroup,
  type GroupFault,
  readGroup,
  readHeader,
  refuseIfProven,
  type TornTail,
  tornTailAt,
} from './found-group.js'
import { alignUp, GROUP_FLAG } from './group.js'
import type { WalEnd, WalIdentity } from './position.js'
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentFileName,
  segmentNumber,
} from './segment.js'
import { SegmentWindow, type WindowSource } from './segment-window.js'
import { WindowMemory } from './window-memory.js'

export type { TornTail } from './found-group.js'

/** One whole, checked group; its bytes are overwritten after the visit. */
export interface ScannedGroup extends FoundGroup {
  readonly segment: SegmentHeader
  readonly position: number
}

export interface ScanResult {
  /** Undefined when the directory holds no segment. */
  readonly end: WalEnd | undefined
  /** A copy of the last group; undefined when no group is left in the WAL. */
  readonly lastGroup: ScannedGroup | undefined
  readonly segments: readonly SegmentHeader[]
  /** Segments without a group of their own: to be removed once a fresh one stands. */
  readonly unused: readonly SegmentHeader[]
  readonly tornTail: TornTail | undefined
}

export interface ScanOptions {
  readonly disk: Disk
  readonly directory: string
  readonly identity: WalIdentity
  /** The first group that is visited. Of those before it in the same segment only the headers are looked at, as a rule. */
  readonly from: number
  /** Check every byte of those, too. */
  readonly isThorough?: boolean | undefined
  readonly visit: (group: ScannedGroup) => void
  /** The end as a clean stop wrote it down. Where it is found there, the segment is not searched for anything behind it. */
  readonly cleanEnd?: Pick<WalEnd, 'sequence' | 'headerCrc'> | undefined
  readonly planted?: PlantedFault | undefined
}

/**
 * Reads a WAL from the segment that holds `from` to its end. Throws WalCorruption where bytes are damaged that a crash
 * cannot have damaged: everything but the last group, which nothing proves.
 */
export async function scanWal(options: ScanOptions): Promise<ScanResult> {
  const segments = await listSegments(options)
  const source = { disk: options.disk, directory: options.directory, memory: new WindowMemory() }
  const unused: SegmentHeader[] = []
  let tornTail: TornTail | undefined
  // A segment without a group was made just before a crash: the WAL ends in the one before it.
  for (let last = segments.at(-1); last !== undefined && segments.length > 1; last = segments.at(-1)) {
    const window = await SegmentWindow.open(last, source)
    try {
      const expect = { walId: last.walId, sequence: last.firstSequence, previousCrc: last.previousCrc }
      const found = await readGroup(window, SEGMENT_HEADER_BYTES, { ...expect, planted: options.planted })
      if ('rows' in found) break
      await refuseIfProven(window, SEGMENT_HEADER_BYTES, expect.sequence, found)
      tornTail ??= tornTailAt(window, SEGMENT_HEADER_BYTES, found)
    } finally {
      await window.close()
    }
    unused.push(last)
    segments.pop()
  }
  unused.push(...takeSuperseded(segments))
  const first = startOf(segments, options.from)
  if (first === undefined) return { end: undefined, lastGroup: undefined, segments, unused, tornTail }
  refuseIfMissing(options, segments[first] as SegmentHeader)
  return await new Scan(options, { segments, unused, tornTail }, source).run(first)
}

function refuseIfMissing({ directory, from }: ScanOptions, first: SegmentHeader): void {
  if (first.firstSequence <= from) return
  throw new WalCorruption({
    file: join(directory, segmentFileName(first.number - 1)),
    byteOffset: 0,
    reason: `the segment is missing: the oldest one begins with group ${first.firstSequence}, and group ${from} is needed`,
  })
}

/** Reads and checks the header of every segment, in the order of their numbers. */
async function listSegments(options: ScanOptions): Promise<SegmentHeader[]> {
  const { disk, directory, identity } = options
  const segments: SegmentHeader[] = []
  for (const name of await disk.list(directory)) {
    const number = segmentNumber(name)
    if (number === undefined) continue
    const path = join(directory, name)
    const file = await disk.open(path, 'read')
    try {
      const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
      const read = await file.read(bytes, 0)
      const header = decodeSegmentHeader(bytes.subarray(0, read))
      const refuse = (reason: string, byteOffset = 0): never => {
        throw new WalCorruption({ file: path, byteOffset, reason })
      }
      if ('fault' in header) return refuse(header.fault)
      if (header.number !== number) return refuse(`the file is segment ${header.number} under another name`)
      if (header.walId !== identity.walId || header.clusterId !== identity.clusterId) {
        return refuse('the segment belongs to another data directory')
      }
      const size = await file.size()
      if (size !== header.bytes) {
        return refuse(
          `the file has ${size} bytes, and its header says ${header.bytes}`,
          Math.min(size, header.bytes),
        )
      }
      segments.push(header)
    } finally {
      await file.close()
    }
  }
  return segments
}

/** Takes out the segments of which a later one repeats everything: a start after a crash made it, and died in turn. */
function takeSuperseded(segments: SegmentHeader[]): SegmentHeader[] {
  const superseded: SegmentHeader[] = []
  let firstLater = Number.POSITIVE_INFINITY
  for (let i = segments.length - 1; i >= 0; i--) {
    const segment = segments[i] as SegmentHeader
    if (segment.firstSequence >= firstLater) superseded.push(...segments.splice(i, 1))
    firstLater = Math.min(firstLater, segment.firstSequence)
  }
  return superseded
}

function startOf(segments: readonly SegmentHeader[], from: number): number | undefined {
  if (segments.length === 0) return undefined
  const later = segments.findIndex(({ firstSequence }) => firstSequence > from)
  return Math.max(0, (later === -1 ? segments.length : later) - 1)
}

class Scan {
  readonly #options: ScanOptions
  readonly #known: Pick<ScanResult, 'segments' | 'unused' | 'tornTail'>
  readonly #source: WindowSource
  #lastGroup: ScannedGroup | undefined

  constructor(
    options: ScanOptions,
    known: Pick<ScanResult, 'segments' | 'unused' | 'tornTail'>,
    source: WindowSource,
  ) {
    this.#options = options
    this.#known = known
    this.#source = source
  }

  async run(first: number): Promise<ScanResult> {
    const { segments } = this.#known
    const start = segments[first] as SegmentHeader
    let chain = { sequence: start.firstSequence - 1, headerCrc: start.previousCrc }
    let end: WalEnd = { ...chain, segment: start, position: SEGMENT_HEADER_BYTES }
    let tornTail = this.#known.tornTail
    for (let index = first; index < segments.length; index++) {
      const segment = segments[index] as SegmentHeader
      const next = segments[index + 1]
      if (segment.firstSequence !== chain.sequence + 1 || segment.previousCrc !== chain.headerCrc) {
        throw this.#brokenChain(segments[index - 1], segment, chain.sequence)
      }
      const window = await SegmentWindow.open(segment, this.#source)
      try {
        const read = await this.#readSegment(window, next, chain)
        chain = { sequence: read.sequence, headerCrc: read.headerCrc }
        end = { ...chain, segment, position: read.position }
        tornTail = read.tornTail ?? tornTail
      } finally {
        await window.close()
      }
    }
    return { ...this.#known, end, lastGroup: this.#lastGroup, tornTail }
  }

  #brokenChain(before: SegmentHeader | undefined, segment: SegmentHeader, sequence: number): WalCorruption {
    const mayBeMissing = before !== undefined && segment.number > before.number + 1
    const number = mayBeMissing ? before.number + 1 : segment.number
    const found = `segment ${segmentFileName(segment.number)} begins with group ${segment.firstSequence}`
    const reason = mayBeMissing
      ? `the segment is missing: the one before it ends with group ${sequence}, and ${found}`
      : `the WAL is read up to group ${sequence}, and ${found} or follows another history`
    return new WalCorruption({ file: this.#path(number), byteOffset: 0, reason })
  }

  #path(number: number): string {
    return join(this.#options.directory, segmentFileName(number))
  }

  /** Visits the groups of one segment: up to the first one of the next segment, or up to the end of the WAL. */
  async #readSegment(
    window: SegmentWindow,
    next: SegmentHeader | undefined,
    chain: { sequence: number; headerCrc: number },
  ) {
    const segment = window.segment
    let { sequence, headerCrc } = chain
    let position = SEGMENT_HEADER_BYTES
    let flags = 0
    // The group before the next segment's first must have exactly this CRC: the caller compares.
    while (next === undefined || sequence + 1 < next.firstSequence) {
      const expect = {
        walId: segment.walId,
        sequence: sequence + 1,
        previousCrc: headerCrc,
        planted: this.#options.planted,
      }
      const { from, isThorough = false, visit } = this.#options
      const isNeeded = expect.sequence >= from
      const found = await (isNeeded || isThorough ? readGroup : readHeader)(window, position, expect)
      if ('fault' in found) {
        const isEnded = (flags & GROUP_FLAG.segmentEnd) !== 0
        if (isEnded && next !== undefined) throw this.#brokenChain(segment, next, sequence)
        if (next !== undefined) throw damaged(window, found.at, expect.sequence, found.fault)
        if (isEnded && !this.#isFollowed(segment, sequence)) {
          const file = this.#path(segment.number + 1)
          const reason = `the segment is missing: group ${sequence} says that one follows ${segmentFileName(segment.number)}`
          throw new WalCorruption({ file, byteOffset: 0, reason })
        }
        this.#refuseIfProvenByUnused(window, expect.sequence, found)
        const isClean = this.#isCleanEnd(sequence, headerCrc)
        if (!isClean) await refuseIfProven(window, position, expect.sequence, found)
        const tornTail = isClean ? undefined : tornTailAt(window, position, found)
        await this.#keepLast(window)
        return { sequence, headerCrc, position, tornTail }
      }
      if (isNeeded && 'rows' in found) visit({ ...found, segment, position })
      this.#last = { segment, position, expect }
      sequence = found.header.sequence
      headerCrc = found.header.headerCrc
      flags = found.header.flags
      position += alignUp(found.header.bytes)
    }
    return { sequence, headerCrc, position, tornTail: undefined }
  }

  #isCleanEnd(sequence: number, headerCrc: number): boolean {
    const { cleanEnd } = this.#options
    return cleanEnd?.sequence === sequence && cleanEnd.headerCrc === headerCrc
  }

  /** Whether the segment that a last group of `sequence` announced was made and never used. */
  #isFollowed(segment: SegmentHeader, sequence: number): boolean {
    return this.#known.unused.some(
      ({ number, firstSequence }) => number === segment.number + 1 || firstSequence <= sequence,
    )
  }

  /** A segment is made when what stands before it is on disk: even an unused one proves that. */
  #refuseIfProvenByUnused(window: SegmentWindow, sequence: number, found: GroupFault): void {
    const witness = this.#known.unused.find(({ provenSequence }) => provenSequence >= sequence)
    if (witness === undefined) return
    const proof = `segment ${segmentFileName(witness.number)} proves that it had been written`
    throw damaged(window, found.at, sequence, `${found.fault}, and ${proof}`)
  }

  #last: { segment: SegmentHeader; position: number; expect: Expected } | undefined

  /** Copies the last group out of the window, which may have moved on since. It may be written again: so all of it is checked. */
  async #keepLast(window: SegmentWindow): Promise<void> {
    this.#lastGroup = undefined
    const last = this.#last
    // It stands in an earlier segment only if this one holds none, and then the segment would be unused.
    if (last?.segment.number !== window.segment.number) return
    const { segment, position, expect } = last
    const found = await readGroup(window, position, expect)
    if ('fault' in found) throw damaged(window, found.at, expect.sequence, found.fault)
    this.#lastGroup = { ...found, bytes: found.bytes.slice(), segment, position }
  }
}
