import { join } from 'node:path'
import type { ClusterId } from '../../protocol/ids.js'
import { type Disk, DiskError, type DiskFile } from '../platform/disk.js'
import { ChunkCorruption } from './corruption.js'
import { CHUNK_HEADER_BYTES, chunkFileName, decodeHeader } from './format.js'

/** The chunk was removed: retention or a merge came between finding it and reading it. Look it up again. */
export class ChunkRemoved extends Error {
  override readonly name = 'ChunkRemoved'
  readonly chunkId: number

  constructor(chunkId: number) {
    super(`chunk ${chunkFileName(chunkId)} was removed`)
    this.chunkId = chunkId
  }
}

interface Slot {
  readonly chunkId: number
  /** Set once it is wanted; its header has been checked when it resolves. */
  file: Promise<DiskFile>
  pins: number
  /** Set once the chunk is to go; settles when it is closed. */
  retired: Promise<void> | undefined
  /** Runs with the last pin. */
  whenUnpinned: (() => void) | undefined
}

/**
 * Chunk files that are open for reading, at most `openFilesMax` of them beyond those that are being read right now.
 * A pin lasts for one read: a pinned file is neither closed nor unlinked.
 */
export class OpenFiles {
  readonly #openFile: (chunkId: number) => Promise<DiskFile>
  readonly #openFilesMax: number
  /** Least recently used first. */
  readonly #slots = new Map<number, Slot>()
  readonly #closing = new Set<Promise<void>>()
  #isClosed = false

  constructor(options: { open: (chunkId: number) => Promise<DiskFile>; openFilesMax: number }) {
    this.#openFile = options.open
    this.#openFilesMax = options.openFilesMax
  }

  get count(): number {
    return this.#slots.size
  }

  /** Runs `use` with the chunk's file, pinned until it settles. */
  async pinned<T>(chunkId: number, use: (file: DiskFile) => Promise<T>): Promise<T> {
    const slot = this.#pin(chunkId)
    try {
      return await use(await slot.file)
    } finally {
      this.#unpin(slot)
    }
  }

  /** Resolves when nobody reads the file any more and it is closed; from now on reading it throws ChunkRemoved. */
  async retire(chunkId: number): Promise<void> {
    const slot = this.#slots.get(chunkId)
    if (!slot) return
    slot.retired ??= this.#closeUnpinned(slot)
    await slot.retired
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#slots.keys()].map((chunkId) => this.retire(chunkId)))
    await Promise.all(this.#closing)
  }

  async #closeUnpinned(slot: Slot): Promise<void> {
    if (slot.pins > 0) {
      await new Promise<void>((resolve) => {
        slot.whenUnpinned = resolve
      })
    }
    await this.#release(slot)
  }

  #pin(chunkId: number): Slot {
    if (this.#isClosed) throw new Error('the chunk files are closed')
    let slot = this.#slots.get(chunkId)
    if (slot?.retired) throw new ChunkRemoved(chunkId)
    if (slot) this.#slots.delete(chunkId)
    else slot = { chunkId, file: this.#open(chunkId), pins: 0, retired: undefined, whenUnpinned: undefined }
    this.#slots.set(chunkId, slot)
    slot.pins++
    this.#evict()
    return slot
  }

  #unpin(slot: Slot): void {
    slot.pins--
    if (slot.pins > 0) return
    slot.whenUnpinned?.()
    this.#evict()
  }

  #evict(): void {
    for (const slot of this.#slots.values()) {
      if (this.#slots.size <= this.#openFilesMax) return
      if (slot.pins > 0 || slot.retired) continue
      const closing = this.#release(slot).finally(() => this.#closing.delete(closing))
      this.#closing.add(closing)
    }
  }

  async #release(slot: Slot): Promise<void> {
    if (this.#slots.get(slot.chunkId) === slot) this.#slots.delete(slot.chunkId)
    const file = await slot.file.catch(() => undefined)
    await file?.close().catch(() => {})
  }

  async #open(chunkId: number): Promise<DiskFile> {
    try {
      return await this.#openFile(chunkId)
    } catch (error) {
      // The next read tries again: too many open files, for one, is not for ever.
      const slot = this.#slots.get(chunkId)
      if (slot) this.#slots.delete(chunkId)
      throw error
    }
  }
}

/** Opens a chunk file and checks its header. Rejects with ChunkCorruption, also when there is no such file, and with a DiskError. */
export async function openChunkFile(
  { disk, directory, clusterId }: { disk: Disk; directory: string; clusterId: ClusterId | undefined },
  chunkId: number,
): Promise<DiskFile> {
  const path = join(directory, chunkFileName(chunkId))
  const file = await disk.open(path, 'read').catch((error: unknown) => {
    if (!(error instanceof DiskError && error.code === 'ENOENT')) throw error
    throw new ChunkCorruption({ file: path, byteOffset: 0, reason: 'the file is missing' })
  })
  try {
    const fault = await headerFault(file, { chunkId, clusterId })
    if (fault === undefined) return file
    throw new ChunkCorruption({ file: path, byteOffset: 0, reason: fault })
  } catch (error) {
    await file.close().catch(() => {})
    throw error
  }
}

async function headerFault(
  file: DiskFile,
  expected: { chunkId: number; clusterId: ClusterId | undefined },
): Promise<string | undefined> {
  const bytes = Buffer.allocUnsafe(CHUNK_HEADER_BYTES)
  const header = decodeHeader(bytes.subarray(0, await file.read(bytes, 0)))
  if (typeof header === 'string') return header
  if (header.chunkId !== expected.chunkId) return `it is the file of chunk ${chunkFileName(header.chunkId)}`
  if (expected.clusterId !== undefined && header.clusterId !== expected.clusterId) {
    return `it belongs to another cluster, ${header.clusterId}`
  }
  return undefined
}
