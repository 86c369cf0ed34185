import {
  ENTRY_HEADER_BYTES,
  ENTRY_MAGIC,
  type EntryHeader,
  entryBytes,
  entryHeaderFault,
  readEntryHeader,
} from '../../protocol/entry.js'
import { entrySection } from '../../protocol/entry-section.js'
import { entryFault } from '../wal/command.js'
import type { FileWindow } from './file-window.js'

/** A stored entry that verifies, and where it stands. */
export interface FoundEntry {
  readonly path: string
  readonly position: number
  readonly bytes: number
  readonly header: EntryHeader
  /** Its dedup ids and what else there is of single records; undefined for most entries. */
  readonly section: Uint8Array | undefined
}

/** A copy: what it was read from is used again. */
export const sectionOf = (entry: Uint8Array, header: EntryHeader): Uint8Array | undefined =>
  header.sectionBytes === 0 ? undefined : entrySection(entry, header).slice()

export const endOffsetOf = ({ header }: FoundEntry): number => header.baseOffset + header.lastOffsetDelta + 1

const magic = Buffer.alloc(4)
magic.writeUInt32LE(ENTRY_MAGIC)
/** Searched at a time. */
const stepBytes = 64 * 1024

/**
 * The entries in a damaged range of a file: each checks itself, so those beside the damage are as good as ever. Behind
 * an entry with a sound header the search goes on at its end, so that nothing within a payload is taken for an entry.
 */
export async function* findEntries(
  window: FileWindow,
  range: { start: number; end: number },
): AsyncGenerator<FoundEntry, void, undefined> {
  let at = range.start
  while (at + ENTRY_HEADER_BYTES <= range.end) {
    const step = await window.view(at, Math.min(stepBytes, range.end - at))
    const index = Buffer.from(step.buffer, step.byteOffset, step.length).indexOf(magic)
    if (index === -1) {
      // The magic may begin in the last bytes of this step.
      at += Math.max(1, step.length - magic.length + 1)
      continue
    }
    at += index
    const head = await window.view(at, ENTRY_HEADER_BYTES)
    if (entryHeaderFault(head) !== undefined) {
      at++
      continue
    }
    const header = readEntryHeader(head)
    const bytes = entryBytes(header)
    const entry = at + bytes > range.end ? undefined : await window.view(at, bytes)
    if (entry !== undefined && entryFault(entry) === undefined)
      yield { path: window.path, position: at, bytes, header, section: sectionOf(entry, header) }
    at += bytes
  }
}
