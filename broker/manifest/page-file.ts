import { dirname } from 'node:path'
import { crc32 } from '#crc32'
import { MillraceError } from '../../protocol/error-codes.js'
import { alignedMemory } from '../platform/aligned-memory.js'
import type { Disk, DiskFile } from '../platform/disk.js'
import type { DedupPageRow, ManifestContents } from './rows.js'

/** A page of dedup ids: 1,024 hashes. On disk: never changed. */
export const PAGE_BYTES = 16 * 1024
/** What is written or read at once. */
const PIECE_BYTES = 1024 * 1024

/** A page and its place in the file. */
export interface PlacedPage {
  readonly slot: number
  readonly bytes: Uint8Array
}

/**
 * Whole pages of dedup ids, beside the manifest, whose rows say where each stands and what its CRC is: they are many,
 * written once and read at starts only, and LMDB would take ten times as long over them. A page is on disk before the row
 * that names it, and its place is used again only when nothing names it any more (`PageSlots`). Not re-entrant.
 */
export class PageFile {
  readonly #disk: Disk
  readonly #path: string
  #file: DiskFile | undefined
  #piece: Uint8Array | undefined

  constructor({ disk, path }: { disk: Disk; path: string }) {
    this.#disk = disk
    this.#path = path
  }

  /** Resolves when the pages are on disk. */
  async write(pages: readonly PlacedPage[]): Promise<void> {
    if (pages.length === 0) return
    const file = await this.#open()
    this.#piece ??= alignedMemory(PIECE_BYTES)
    const inOrder = [...pages].sort((a, b) => a.slot - b.slot)
    for (let from = 0; from < inOrder.length; ) {
      const { slot } = inOrder[from] as PlacedPage
      let count = 0
      for (; (count + 1) * PAGE_BYTES <= PIECE_BYTES; count++) {
        const page = inOrder[from + count]
        if (page?.slot !== slot + count) break
        this.#piece.set(page.bytes, count * PAGE_BYTES)
      }
      await file.write([this.#piece.subarray(0, count * PAGE_BYTES)], slot * PAGE_BYTES)
      from += count
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
  }

  async #open(): Promise<DiskFile> {
    if (this.#file !== undefined) return this.#file
    if (!(await this.#disk.exists(this.#path))) {
      const created = await this.#disk.open(this.#path, 'create')
      await created.close()
      await this.#disk.syncDirectory(dirname(this.#path))
    }
    this.#file = await this.#disk.open(this.#path, 'durableDirect')
    return this.#file
  }
}

/** What is to be read of a page file. */
export interface ReadPages {
  /** The manifest's pages, all with their hashes. */
  readonly rows: DedupPageRow[]
  /** Those of `rows` whose bytes are not what was written, without hashes. */
  readonly faults: readonly PageFault[]
  /** Places in the file. */
  readonly slots: number
}

export interface PageFault {
  readonly row: DedupPageRow
  readonly error: MillraceError
}

/** Reads the pages that stand in the file. A missing file is one of zero bytes. */
export async function readPages(options: {
  disk: Disk
  path: string
  rows: readonly DedupPageRow[]
}): Promise<ReadPages> {
  const { disk, path } = options
  const rows = [...options.rows]
  const faults: PageFault[] = []
  const file = (await disk.exists(path)) ? await disk.open(path, 'read') : undefined
  try {
    const fileBytes = (await file?.size()) ?? 0
    const placed = rows
      .map((row, index) => ({ index, slot: row.slot }))
      .filter((one): one is { index: number; slot: number } => one.slot !== null)
      .sort((a, b) => a.slot - b.slot)
    for (let from = 0; from < placed.length; ) {
      const { slot } = placed[from] as { slot: number }
      let count = 1
      while (placed[from + count]?.slot === slot + count && (count + 1) * PAGE_BYTES <= PIECE_BYTES) count++
      const piece = new Uint8Array(count * PAGE_BYTES)
      const read = (await file?.read(piece, slot * PAGE_BYTES)) ?? 0
      for (let n = 0; n < count; n++) {
        const { index } = placed[from + n] as { index: number }
        const row = rows[index] as DedupPageRow
        const hashes = piece.subarray(n * PAGE_BYTES, (n + 1) * PAGE_BYTES)
        if ((n + 1) * PAGE_BYTES <= read && crc32(hashes) === row.crc) rows[index] = { ...row, hashes }
        else faults.push({ row, error: damaged(path, row, fileBytes) })
      }
      from += count
    }
    return { rows, faults, slots: Math.floor(fileBytes / PAGE_BYTES) }
  } finally {
    await file?.close()
  }
}

/** Contents whose pages have their hashes. Throws MillraceError CORRUPT_DATA when one is damaged. */
export async function withPages(
  contents: ManifestContents,
  options: { disk: Disk; path: string },
): Promise<{ contents: ManifestContents; slots: number }> {
  const { rows, faults, slots } = await readPages({ ...options, rows: contents.dedupPages })
  if (faults[0] !== undefined) throw faults[0].error
  return { contents: { ...contents, dedupPages: rows }, slots }
}

function damaged(
  file: string,
  { topicId, start, page, slot }: DedupPageRow,
  fileBytes: number,
): MillraceError {
  const byteOffset = (slot as number) * PAGE_BYTES
  const name = `page ${page} of the dedup ids of topic ${topicId} from ${start}`
  const reason =
    byteOffset + PAGE_BYTES > fileBytes ? `it ends before ${name}` : `the CRC of ${name} does not match`
  return new MillraceError('CORRUPT_DATA', {
    message: `the data directory is damaged: ${file} at byte ${byteOffset}: ${reason}`,
    details: { file, byteOffset, reason },
  })
}
