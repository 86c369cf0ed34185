import type { ChunkFiles } from '../chunks/chunk-files.js'
import type { Manifest } from '../manifest/manifest.js'
import { PageFile } from '../manifest/page-file.js'
import { listSnapshots, writeSnapshot } from '../manifest/snapshot.js'
import { SnapshotCorruption } from '../manifest/snapshot-format.js'
import { type SnapshotReport, verifySnapshot } from '../manifest/snapshot-reader.js'
import type { Store } from '../manifest/store.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Disk } from '../platform/disk.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Wal } from '../wal/wal.js'
import type { Layout } from './layout.js'
import type { ShardState } from './state.js'
import { changedRows } from './state-rows.js'

export interface CheckpointOptions {
  readonly disk: Disk
  readonly layout: Pick<Layout, 'snapshots' | 'dedupPages'>
  readonly state: ShardState
  readonly store: Store
  readonly manifest: Manifest
  readonly chunks: ChunkFiles
  readonly wal: Wal
  readonly clock: Clock
  readonly failpoints: Failpoints
  readonly metrics: Metrics
  readonly flushMs: number
  readonly overlayBytesMax: number
  readonly walBytesMax: number
  readonly snapshotEveryBytes: number
  readonly oldestUnsealedSequence: () => number | undefined
  /** Appends wait while a reason stands. */
  readonly hold: (reason: string) => void
  readonly unhold: (reason: string) => void
  /** The manifest cannot be written: the broker must stop. */
  readonly failed: (error: unknown) => void
  /** Space could not be freed; it is tried again. */
  readonly warn: (message: string, error: unknown) => void
}

/** WAL bytes for each byte of a snapshot. */
const SNAPSHOT_COST_FACTOR = 32

/** WAL bytes between two snapshots for each byte of the last one, at least. */
const SNAPSHOT_WAL_FACTOR = 4

/** Chunk files that one round removes. */
const REMOVED_AT_ONCE_MAX = 256

/**
 * Brings the manifest up to the state, and removes what is then no longer needed: chunk files without a reference, and
 * WAL segments below the manifest, the newest verified snapshot and everything unsealed. One round at a time.
 */
export class Checkpoint {
  readonly #options: CheckpointOptions
  readonly #pageFile: PageFile
  #timer: Timer | undefined
  #running: Promise<void> | undefined
  #again = false
  readonly #stopping = new AbortController()
  #isNewestKnown = false
  /** Of the newest verified snapshot. */
  #snapshotSequence = 0
  #snapshotBytes = 0
  #walBytesAtSnapshot = 0
  #walBytesWritten = 0

  constructor(options: CheckpointOptions) {
    this.#options = options
    this.#pageFile = new PageFile({ disk: options.disk, path: options.layout.dedupPages })
  }

  start(): void {
    this.#setTimer()
  }

  /** Called after every group: cheap. Holds appends that would grow what only a checkpoint shrinks. */
  grown(walBytes: number): void {
    this.#walBytesWritten += walBytes
    const { state, overlayBytesMax } = this.#options
    const { overlayBytes } = state
    if (overlayBytes > overlayBytesMax) this.#options.hold('overlay')
    const isWalFull = this.#isWalFull()
    if (isWalFull) this.#options.hold('wal')
    // The next tick may be long off, and until then nothing lets the appends go on.
    if (isWalFull || overlayBytes > overlayBytesMax / 2) this.kick()
  }

  /** Past half of its cap the WAL is made smaller with everything that helps. */
  isWalLarge(): boolean {
    const { wal, walBytesMax } = this.#options
    return wal.files.totalBytes > walBytesMax / 2
  }

  /** The next segment would pass the cap. */
  #isWalFull(): boolean {
    const { wal, walBytesMax } = this.#options
    const newest = wal.files.headers.at(-1)
    return wal.files.totalBytes + 2 * (newest?.bytes ?? 0) > walBytesMax
  }

  /** A whole WAL segment holds nothing unsealed any more: a round would recycle it. */
  kickIfTrimmable(): void {
    const { wal, state, oldestUnsealedSequence } = this.#options
    const next = wal.files.headers[1]
    const needed = oldestUnsealedSequence() ?? state.applied.sequence + 1
    if (next !== undefined && next.firstSequence <= needed) this.kick()
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted
  }

  kick(): void {
    if (this.#isStopped) return
    if (this.#running !== undefined) {
      this.#again = true
      return
    }
    this.#running = this.#round()
      .catch((error: unknown) => {
        if (!this.#isStopped) this.#options.warn('a checkpoint failed; it is tried again', error)
      })
      .finally(() => {
        this.#running = undefined
        if (this.#again) {
          this.#again = false
          this.kick()
        }
      })
  }

  #tick(): void {
    if (this.#isStopped) return
    this.kick()
    this.#setTimer()
  }

  #setTimer(): void {
    this.#timer = this.#options.clock.setTimer(() => this.#tick(), this.#options.flushMs, { unref: true })
  }

  async #round(): Promise<void> {
    const { state, wal, unhold } = this.#options
    let flushed: { applied: number; replayFrom: number }
    try {
      flushed = await this.flush()
    } catch (error) {
      this.#stopping.abort()
      this.#options.failed(error)
      return
    }
    unhold('overlay')
    await this.#removeChunks(flushed.applied)
    // Only now: a start does not wait for it, and until then the WAL is kept whole.
    if (!this.#isNewestKnown) await this.#takeNewest()
    const unneeded = Math.min(flushed.applied, flushed.replayFrom - 1)
    if (this.#isSnapshotDue(unneeded)) await this.#snapshot()
    const isHasty = this.#options.failpoints.planted === 'walRecycledTooEarly'
    await wal.trim(isHasty ? flushed.applied : Math.min(unneeded, this.#snapshotSequence))
    if (!this.#isWalFull()) unhold('wal')
    else if (state.overlay.touched) this.#again = true
  }

  /** Writes what changed; returns what the manifest then holds. */
  async flush(options: { force?: boolean } = {}): Promise<{ applied: number; replayFrom: number }> {
    const { state, manifest, failpoints, metrics, oldestUnsealedSequence } = this.#options
    const applied = state.applied.sequence
    const replayFrom = oldestUnsealedSequence() ?? applied + 1
    if (!state.overlay.touched && options.force !== true) return { applied, replayFrom }
    await failpoints.hit('manifestBeforeFlush')
    const startedMs = performance.now()
    // Encoded before `flush` returns its promise: what is applied from here on belongs to the next flush.
    const at = {
      applied: state.applied.sequence,
      replayFrom: oldestUnsealedSequence() ?? state.applied.sequence + 1,
    }
    const { rows, pages } = changedRows(state, at.replayFrom)
    const flushing = manifest.flush(rows, { after: this.#pageFile.write(pages) })
    state.overlay.clear()
    state.dedup.flushed(at.applied)
    await flushing
    await failpoints.hit('manifestAfterFlush')
    metrics.count('manifestFlushes')
    metrics.observe('manifestFlushMs', performance.now() - startedMs)
    return at
  }

  /** Many at a time, for one sync of the directory: the next flush waits, and with a full overlay the appends. */
  async #removeChunks(applied: number): Promise<void> {
    const { state, chunks } = this.#options
    const removable = state.unreferencedChunks.filter(({ sequence }) => sequence <= applied)
    const now = removable.slice(0, REMOVED_AT_ONCE_MAX)
    if (now.length === 0) return
    await chunks.remove(now.map(({ chunkId }) => chunkId))
    // In the order of their sequences: what came meanwhile stands behind.
    state.unreferencedChunks.splice(0, now.length)
    if (now.length < removable.length) this.#again = true
  }

  /**
   * When a segment waits for nothing but a newer snapshot, and the snapshot costs little against the WAL that was written
   * since the last one: then segments are recycled one by one, and no new ones have to be filled with zeros.
   */
  #isSnapshotDue(unneeded: number): boolean {
    const { snapshotEveryBytes, walBytesMax, wal } = this.#options
    const since = this.#walBytesWritten - this.#walBytesAtSnapshot
    // A large state is not written again and again; but the WAL is kept from the newest snapshot on.
    const every = Math.max(snapshotEveryBytes, SNAPSHOT_WAL_FACTOR * this.#snapshotBytes)
    if (since > Math.min(every, walBytesMax / 4)) return true
    const next = wal.files.headers[1]
    const isAwaited =
      next !== undefined &&
      next.firstSequence <= unneeded + 1 &&
      this.#snapshotSequence < next.firstSequence - 1
    return isAwaited && (since > SNAPSHOT_COST_FACTOR * this.#snapshotBytes || this.isWalLarge())
  }

  /** The WAL is kept from the newest snapshot on, so a manifest that is lost can be made again from both. */
  async #snapshot(): Promise<void> {
    const { disk, layout, state, store, failpoints, metrics } = this.#options
    this.#walBytesAtSnapshot = this.#walBytesWritten
    const written = await writeSnapshot({ disk, directory: layout.snapshots, store, failpoints })
    await verifySnapshot(disk, written.path)
    this.#snapshotSequence = written.applied.sequence
    this.#snapshotBytes = written.bytes
    state.dedup.slots.reuse(written.applied.sequence)
    metrics.count('snapshots')
  }

  /** Keeps the WAL from the newest snapshot on whose every byte is right. */
  async #takeNewest(): Promise<void> {
    const { disk, layout, state, warn } = this.#options
    let newest: SnapshotReport | undefined
    for (const { path } of await listSnapshots(disk, layout.snapshots)) {
      try {
        newest = await verifySnapshot(disk, path, { signal: this.#stopping.signal })
        break
      } catch (error) {
        // What the disk refuses now may be whole: the next round looks again.
        if (!(error instanceof SnapshotCorruption)) throw error
        warn(`the snapshot ${path} cannot be used`, error)
      }
    }
    this.#snapshotSequence = newest?.applied.sequence ?? 0
    this.#snapshotBytes = newest?.bytes ?? 0
    state.dedup.slots.reuseBut(newest?.pageSlots ?? new Set())
    this.#isNewestKnown = true
  }

  /** A last flush; nothing may be applied any more. */
  async stop(options: { flush: boolean }): Promise<void> {
    this.#stopping.abort()
    this.#timer?.cancel()
    await this.#running
    if (options.flush) {
      const { applied } = await this.flush({ force: true })
      await this.#removeChunks(applied)
    }
    await this.#pageFile.close()
  }
}
