import type { DiskFile } from '../platform/disk.js'

interface Lent {
  readonly file: Promise<DiskFile>
  holders: number
}

/** A file that somebody reads at length. */
export interface LentFile {
  readonly file: DiskFile
  /** Idempotent. */
  release(): void
}

/**
 * Chunk files for reading at length: each is open once, for as long as anybody has it. Nobody waits for it to be given back: a chunk
 * that is removed meanwhile is read to its end, and its space is free when the last reader is done.
 */
export class LentFiles {
  readonly #open: (chunkId: number) => Promise<DiskFile>
  readonly #lent = new Map<number, Lent>()
  /** Those that were forgotten too. */
  readonly #files = new Set<DiskFile>()
  #isClosed = false

  constructor(open: (chunkId: number) => Promise<DiskFile>) {
    this.#open = open
  }

  /** Open now. */
  get count(): number {
    return this.#files.size
  }

  /** Rejects as opening does. */
  async borrow(chunkId: number): Promise<LentFile> {
    const known = this.#lent.get(chunkId)
    const lent = known ?? { file: this.#opened(chunkId), holders: 0 }
    this.#lent.set(chunkId, lent)
    lent.holders++
    let isHeld = true
    const release = (): void => {
      if (!isHeld) return
      isHeld = false
      this.#release(chunkId, lent)
    }
    try {
      return { file: await lent.file, release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** The chunk is being removed: those who have it keep it, whoever comes later opens anew. */
  forget(chunkId: number): void {
    this.#lent.delete(chunkId)
  }

  /** Takes all of them back: reading fails from now on. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#lent.clear()
    await Promise.all([...this.#files].map((file) => file.close()))
  }

  async #opened(chunkId: number): Promise<DiskFile> {
    const file = await this.#open(chunkId)
    this.#files.add(file)
    if (this.#isClosed) {
      await file.close()
      throw new Error('the chunk files are closed')
    }
    return file
  }

  #release(chunkId: number, lent: Lent): void {
    lent.holders--
    if (lent.holders > 0) return
    if (this.#lent.get(chunkId) === lent) this.#lent.delete(chunkId)
    lent.file
      .then((file) => {
        this.#files.delete(file)
        return file.close()
      })
      // Nothing was opened, or nothing is lost: it was only read.
      .catch(() => {})
  }
}
