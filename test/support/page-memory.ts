import type { PlacedPage } from '../../broker/manifest/page-file.js'
import type { DedupPageRow, ManifestContents } from '../../broker/manifest/rows.js'

/** A page file that is only memory. */
export class PageMemory {
  readonly #pages = new Map<number, Uint8Array>()

  write(pages: readonly PlacedPage[]): void {
    for (const { slot, bytes } of pages) this.#pages.set(slot, bytes.slice())
  }

  fill(row: DedupPageRow): DedupPageRow {
    return row.slot === null ? row : { ...row, hashes: this.#pages.get(row.slot) ?? new Uint8Array(0) }
  }

  filled(contents: ManifestContents): ManifestContents {
    return { ...contents, dedupPages: contents.dedupPages.map((row) => this.fill(row)) }
  }
}
