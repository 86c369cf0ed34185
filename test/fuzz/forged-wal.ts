import { crc32 } from '#crc32'
import type { Disk } from '../../broker/platform/disk.js'
import { OPCODE_APPEND } from '../../broker/wal/command.js'
import {
  alignUp,
  DIRECTORY_ROW_BYTES,
  type DirectoryRow,
  GROUP_HEADER_BYTES,
  type GroupHeader,
  groupBytes,
  writeDirectoryRow,
  writeGroupHeader,
} from '../../broker/wal/group.js'
import { decodeSegmentHeader, encodeSegmentHeader, type SegmentHeader } from '../../broker/wal/segment.js'
import { readHeaderCrc } from '../../protocol/entry.js'
import { groupsOf } from '../support/damage.js'
import type { ForkableDisk } from '../support/forkable-disk.js'

/** One command of a group: what the directory says of it, and its bytes. */
export interface ForgedCommand {
  row: Omit<DirectoryRow, 'byteStart' | 'byteLength' | 'bodyCrc'>
  body: Uint8Array
  /** What the directory says instead, right CRCs around it. */
  lie?: Partial<DirectoryRow>
}

/** One group that may be changed and written again. */
export interface ForgedGroup {
  readonly file: string
  readonly position: number
  readonly spanBytes: number
  header: GroupHeader
  commands: ForgedCommand[]
  /** What the header says instead, right CRCs around it. */
  lie?: Partial<GroupHeader>
}

type GroupAndCrc = { readonly bytes: Uint8Array; readonly headerCrc: number }

/** The groups of a data directory in memory, to be changed as somebody would who knows the format. */
export class ForgedWal {
  readonly groups: readonly ForgedGroup[]
  readonly #disk: ForkableDisk

  private constructor(disk: ForkableDisk, groups: readonly ForgedGroup[]) {
    this.#disk = disk
    this.groups = groups
  }

  /** Of an undamaged directory at "/"; the disk is the forger's own. */
  static async read(disk: ForkableDisk): Promise<ForgedWal> {
    const places = await groupsOf('/', disk as Disk)
    const groups = places.map(({ file, position, header, rows }) => {
      const bytes = disk.bytesOf(file)
      const commands = rows.map((row) => {
        const start = position + row.byteStart
        return { row, body: new Uint8Array(bytes.subarray(start, start + row.byteLength)) }
      })
      return { file, position, spanBytes: alignUp(header.bytes), header, commands }
    })
    return new ForgedWal(disk, groups)
  }

  /** Writes the group with all its CRCs right; false when it does not fit where it stood. */
  write(group: ForgedGroup): boolean {
    const { bytes } = built(group, this.segmentOf(group.file).salt)
    if (bytes.length > group.spanBytes) return false
    this.overwrite(group.file, group.position, bytes)
    return true
  }

  /** As `write`, and makes what follows name this group as the one before it. */
  writeWithChain(group: ForgedGroup): boolean {
    if (!this.write(group)) return false
    let { headerCrc } = built(group, this.segmentOf(group.file).salt)
    let { file } = group
    for (const next of this.groups.slice(this.groups.indexOf(group) + 1)) {
      if (next.file !== file) {
        const segment = this.segmentOf(next.file)
        // A segment that does not go on behind the last group follows a start, which wrote that group again.
        if (segment.firstSequence !== next.header.sequence) return true
        this.rewriteSegment(next.file, { previousCrc: headerCrc })
        file = next.file
      }
      next.header = { ...next.header, previousCrc: headerCrc }
      const written = built(next, this.segmentOf(next.file).salt)
      this.overwrite(next.file, next.position, written.bytes)
      headerCrc = written.headerCrc
    }
    return true
  }

  segmentOf(file: string): SegmentHeader {
    const header = decodeSegmentHeader(this.#disk.bytesOf(file))
    if ('fault' in header) throw new Error(header.fault)
    return header
  }

  /** Changes the header of a segment, its CRC right. */
  rewriteSegment(file: string, fields: Partial<SegmentHeader>): void {
    this.overwrite(file, 0, encodeSegmentHeader({ ...this.segmentOf(file), ...fields }))
  }

  overwrite(file: string, position: number, bytes: Uint8Array): void {
    const all = new Uint8Array(this.#disk.bytesOf(file))
    all.set(bytes.subarray(0, all.length - position), position)
    this.#disk.put(file, all)
  }

  bytesOf({ file, position, spanBytes }: ForgedGroup): Uint8Array {
    return new Uint8Array(this.#disk.bytesOf(file).subarray(position, position + spanBytes))
  }
}

function built(group: ForgedGroup, salt: number): GroupAndCrc {
  const { commands, header, lie } = group
  const bodyBytes = commands.reduce((sum, { body }) => sum + body.length, 0)
  const bytes = groupBytes(commands.length, bodyBytes)
  const target = new Uint8Array(alignUp(bytes))
  let at = GROUP_HEADER_BYTES + commands.length * DIRECTORY_ROW_BYTES
  for (const [i, { row, body, lie: rowLie }] of commands.entries()) {
    target.set(body, at)
    const isEntry = row.opcode === OPCODE_APPEND && body.length >= 12
    const place = {
      byteStart: at,
      byteLength: body.length,
      bodyCrc: isEntry ? readHeaderCrc(body) : crc32(body),
    }
    writeDirectoryRow(target, GROUP_HEADER_BYTES + i * DIRECTORY_ROW_BYTES, { ...row, ...place, ...rowLie })
    at += body.length
  }
  const headerCrc = writeGroupHeader(
    target,
    0,
    { ...header, bytes, commandCount: commands.length, ...lie },
    salt,
  )
  return { bytes: target, headerCrc }
}
