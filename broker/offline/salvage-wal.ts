import { crc32 } from '#crc32'
import { readEntryHeader } from '../../protocol/entry.js'
import type { Disk } from '../platform/disk.js'
import { type Command, decodeCommand } from '../shard/commands.js'
import { bodyFault, OPCODE_APPEND } from '../wal/command.js'
import {
  alignUp,
  checkGroup,
  DIRECTORY_ROW_BYTES,
  type DirectoryRow,
  GROUP_ALIGN_BYTES,
  GROUP_HEADER_BYTES,
  type GroupHeader,
  readDirectoryRow,
  readGroupHeader,
} from '../wal/group.js'
import { SEGMENT_HEADER_BYTES } from '../wal/segment.js'
import { FileWindow } from './file-window.js'
import { type FoundEntry, findEntries, sectionOf } from './find-entries.js'
import type { DataFault } from './report.js'
import { listSegmentFiles, type SegmentFile } from './segment-files.js'

/** What can be read of one group, or of several whose headers cannot. In the order of the WAL. */
export interface WalPiece {
  /** Sequences of its groups; `last` is below `first` where it is not known how many there were. */
  readonly first: number
  readonly last: number
  /** Undefined when the group's header cannot be read. */
  readonly header: GroupHeader | undefined
  readonly appends: readonly FoundEntry[]
  readonly commands: readonly Command[]
  /** Appends that are known to have stood here and do not verify, or whose record does not. */
  readonly lost: readonly DirectoryRow[]
  /** Undefined when every byte verifies. */
  readonly fault: DataFault | undefined
  /** The appends are known to be of these groups; else they were only found where these may have stood. */
  readonly isCertain: boolean
  /** No later group is in the WAL: this may be nothing, or a write that never finished. */
  readonly isTail: boolean
}

/**
 * Everything in a WAL that verifies, past all damage. Groups check themselves, so those behind a damaged one are found
 * at the next boundary; and so do bodies, so those beside the damage are found within a group.
 */
export async function* salvageWal(options: {
  disk: Disk
  directory: string
  walId: string
}): AsyncGenerator<WalPiece, void, undefined> {
  const { disk, directory, walId } = options
  const files = await listSegmentFiles(disk, directory)
  const own = files.filter(({ header }) => header === undefined || header.walId === walId)
  let expected: number | undefined
  for (const [index, file] of own.entries()) {
    const window = await FileWindow.open(disk, file.path)
    try {
      const later = own.slice(index + 1)
      const salvage = new SegmentSalvage({ window, file, walId, later, expected })
      yield* salvage.pieces()
      expected = salvage.expected
    } finally {
      await window.close()
    }
  }
}

/** Later segments repeat groups of this and later sequences. */
const limitOf = (later: readonly SegmentFile[]): number =>
  Math.min(...later.map(({ header }) => header?.firstSequence ?? Number.POSITIVE_INFINITY))

class SegmentSalvage {
  readonly #window: FileWindow
  readonly #file: SegmentFile
  readonly #walId: string
  readonly #limit: number
  readonly #later: readonly SegmentFile[]
  /** The sequence that comes next, as far as it is known. */
  expected: number | undefined
  /** Where bytes began that belong to no group that can be read. */
  #damagedFrom: number | undefined

  constructor(options: {
    window: FileWindow
    file: SegmentFile
    walId: string
    later: readonly SegmentFile[]
    expected: number | undefined
  }) {
    this.#window = options.window
    this.#file = options.file
    this.#walId = options.walId
    this.#limit = limitOf(options.later)
    this.#later = options.later
    this.expected = options.expected ?? options.file.header?.firstSequence
  }

  async *pieces(): AsyncGenerator<WalPiece, void, undefined> {
    const salt = this.#file.header?.salt ?? (await saltOf(this.#window))
    let position = SEGMENT_HEADER_BYTES
    while (salt !== undefined && position < this.#window.bytes) {
      const header = readGroupHeader(await this.#window.view(position, GROUP_HEADER_BYTES), 0, salt)
      if (header === undefined || header.walId !== this.#walId) {
        this.#damagedFrom ??= position
        position += GROUP_ALIGN_BYTES
        continue
      }
      if (header.sequence >= this.#limit) break
      if (header.sequence >= (this.expected ?? 0)) {
        if (this.#damagedFrom !== undefined) yield await this.#damage(position, header.sequence - 1)
        yield await this.#group(position, header, salt)
        this.expected = header.sequence + 1
      }
      this.#damagedFrom = undefined
      position += alignUp(header.bytes)
    }
    if (salt === undefined) this.#damagedFrom = SEGMENT_HEADER_BYTES
    yield* this.#end(position)
  }

  /** What is missing behind the last group that can be read. */
  async *#end(position: number): AsyncGenerator<WalPiece, void, undefined> {
    const [next] = this.#later
    if (next === undefined) {
      if (this.#damagedFrom !== undefined)
        yield await this.#damage(this.#window.bytes, (this.expected ?? 1) - 1)
      return
    }
    // Where the next segment begins is not known if its header cannot be read: its groups will tell.
    if (next.header === undefined || (this.expected !== undefined && this.expected >= this.#limit)) return
    this.#damagedFrom ??= position
    yield await this.#damage(this.#window.bytes, this.#limit - 1)
    this.expected = this.#limit
  }

  /** What stood between two groups, or behind the last one. */
  async #damage(end: number, last: number): Promise<WalPiece> {
    const start = this.#damagedFrom ?? end
    const first = this.expected ?? last + 1
    const appends: FoundEntry[] = []
    for await (const entry of findEntries(this.#window, { start, end })) appends.push(entry)
    const fault = { file: this.#file.path, byteOffset: start, reason: 'no valid group begins here' }
    const isTail = end === this.#window.bytes && this.#later.length === 0
    return {
      first,
      last,
      header: undefined,
      appends,
      commands: [],
      lost: [],
      fault,
      isCertain: false,
      isTail,
    }
  }

  async #group(position: number, header: GroupHeader, salt: number): Promise<WalPiece> {
    const bytes = await this.#window.view(position, alignUp(header.bytes))
    const checked = checkGroup(bytes, 0, header, { salt, bodyFault })
    const piece = { first: header.sequence, last: header.sequence, header, isCertain: true, isTail: false }
    if ('rows' in checked)
      return { ...piece, ...this.#bodies(bytes, position, checked.rows), fault: undefined }
    const fault = { file: this.#file.path, byteOffset: position + checked.at, reason: checked.fault }
    const rows = directoryOf(bytes, header, salt)
    if (rows !== undefined) return { ...piece, ...this.#bodies(bytes, position, rows), fault }
    const appends: FoundEntry[] = []
    const range = { start: position + GROUP_HEADER_BYTES, end: position + header.bytes }
    for await (const entry of findEntries(this.#window, range)) appends.push(entry)
    return { ...piece, appends, commands: [], lost: [], fault }
  }

  /**
   * The bodies that verify, and the rows of the appends that do not. A record of several commands counts whole or not at
   * all: a cursor must not move past what was lost with it, nor stay behind what it wrote.
   */
  #bodies(bytes: Uint8Array, position: number, rows: readonly DirectoryRow[]) {
    const appends: FoundEntry[] = []
    const commands: Command[] = []
    const lost: DirectoryRow[] = []
    const bodyOf = (row: DirectoryRow): Uint8Array =>
      bytes.subarray(row.byteStart, row.byteStart + row.byteLength)
    const isWhole = (row: DirectoryRow, body: Uint8Array): boolean =>
      body.length === row.byteLength && bodyFault(row, body) === undefined
    const broken = new Set(rows.filter((row) => !isWhole(row, bodyOf(row))).map(({ record }) => record))
    for (const row of rows) {
      const body = bodyOf(row)
      if (broken.has(row.record)) {
        if (row.opcode === OPCODE_APPEND) lost.push(row)
      } else if (row.opcode === OPCODE_APPEND) {
        const header = readEntryHeader(body)
        appends.push({
          path: this.#file.path,
          position: position + row.byteStart,
          bytes: row.byteLength,
          header,
          section: sectionOf(body, header),
        })
      } else commands.push(decodeCommand(row.opcode, body))
    }
    return { appends, commands, lost }
  }
}

/** The rows of a damaged group's directory; undefined when the damage is there. */
function directoryOf(bytes: Uint8Array, header: GroupHeader, salt: number): DirectoryRow[] | undefined {
  const end = GROUP_HEADER_BYTES + header.commandCount * DIRECTORY_ROW_BYTES
  const directory = bytes.subarray(GROUP_HEADER_BYTES, end)
  if (end > bytes.length || crc32(directory, salt) !== header.directoryCrc) return undefined
  return Array.from({ length: header.commandCount }, (_, i) =>
    readDirectoryRow(directory, i * DIRECTORY_ROW_BYTES),
  )
}

/** The salt of a segment whose header is damaged elsewhere: its first group proves it. */
async function saltOf(window: FileWindow): Promise<number | undefined> {
  const head = await window.view(0, SEGMENT_HEADER_BYTES)
  if (head.length < SEGMENT_HEADER_BYTES) return undefined
  const salt = new DataView(head.buffer, head.byteOffset).getUint32(12, true)
  const group = await window.view(SEGMENT_HEADER_BYTES, GROUP_HEADER_BYTES)
  return readGroupHeader(group, 0, salt) === undefined ? undefined : salt
}
