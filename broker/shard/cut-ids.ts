import { bitmapBytes, DEDUP_ID_HASH_BYTES, type DedupIds, setBit } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { DuplicateRecord } from '../../protocol/messages/checked-produce.js'
import type { AppendBatch } from './batch-check.js'
import { DedupChunk } from './dedup/chunk.js'
import type { DedupTable } from './dedup/table.js'
import type { ShardState } from './state.js'

/** A batch with dedup ids. */
export type BatchWithIds = AppendBatch & { readonly dedupIds: DedupIds }

export const hasIds = (batch: AppendBatch): batch is BatchWithIds => batch.dedupIds !== null

/** Which records of a batch are duplicates. */
export interface ResolvedIds {
  /** null for none. */
  readonly duplicates: readonly DuplicateRecord[] | null
  /** One bit a record, those of `duplicates`; undefined for none. */
  readonly omitted: Uint8Array | undefined
  /** Every record is a duplicate: there is nothing to write. */
  readonly isNothingNew: boolean
  /** An original is in the group that is being cut: whoever hears of it must wait for the group. */
  readonly isInGroup: boolean
}

const ALL_NEW: ResolvedIds = { duplicates: null, omitted: undefined, isNothingNew: false, isInGroup: false }

/** `DEDUP_FULL` is worth another try no later than this, whatever the window. */
const RETRY_AFTER_MS_MAX = 60_000

/**
 * The dedup ids of the group that is being cut. They go into the index at once, pending until the group is applied: of
 * two that race the second one finds the first.
 */
export class CutIds {
  readonly #state: ShardState
  readonly #bytesMax: number
  readonly #chunk = new DedupChunk()

  /** `bytesMax`: of the index. */
  constructor({ state, bytesMax }: { state: ShardState; bytesMax: number }) {
    this.#state = state
    this.#bytesMax = bytesMax
  }

  /** Before each cut: the group before is applied, and what is still pending was never part of it. */
  reset(): void {
    this.#state.dedup.withdraw()
  }

  /** Leaves no ids of `take` when it throws. */
  orNone<T>(take: () => T): T {
    const before = this.#state.dedup.pendingIds()
    try {
      return take()
    } catch (error) {
      this.#state.dedup.withdraw(before)
      throw error
    }
  }

  /**
   * Finds the duplicates of a batch that would begin at `baseOffset`; the other ids are the group's from here on. Throws
   * DEDUP_FULL when the index has no room for them; then none of them is.
   */
  resolve(batch: BatchWithIds, { baseOffset, time }: { baseOffset: number; time: number }): ResolvedIds {
    this.#checkRoom(batch, time)
    const { topicId, partition, recordCount } = batch
    const { dedup } = this.#state
    const windowMs = this.#state.topics.get(topicId)?.row.options.dedupWindowMs ?? 0
    const group = { topicId, windowMs, time, partition, baseOffset }
    const chunk = this.#chunk
    let duplicates: DuplicateRecord[] | undefined
    let omitted: Uint8Array | undefined
    let isInGroup = false
    chunk.begin(batch.dedupIds)
    while (chunk.next()) {
      if (dedup.add(chunk, group) === 0) continue
      duplicates ??= []
      omitted ??= new Uint8Array(bitmapBytes(recordCount))
      const table = dedup.topic(topicId) as DedupTable
      for (let i = 0; i < chunk.count; i++) {
        const position = chunk.found[i]!
        if (position < 0) continue
        const index = chunk.records[i]!
        const { partition, offset } = table.place(position)
        duplicates.push({ index, partition, offset })
        setBit(omitted, index)
        isInGroup ||= table.isPending(position)
      }
    }
    if (duplicates === undefined) return ALL_NEW
    return { duplicates, omitted, isNothingNew: duplicates.length === recordCount, isInGroup }
  }

  /**
   * The duplicates in a batch that an idempotent producer sends again and that was written at `baseOffset`; null for
   * none. An id that the index forgot since counts as written with the batch.
   */
  ofRetry(
    batch: BatchWithIds,
    at: { baseOffset: number; time: number; isInGroup: boolean },
  ): readonly DuplicateRecord[] | null {
    const table = this.#state.dedup.topic(batch.topicId)
    if (table === undefined) return null
    const chunk = this.#chunk
    const duplicates: DuplicateRecord[] = []
    chunk.begin(batch.dedupIds)
    while (chunk.next()) {
      table.find(chunk, at.time)
      for (let i = 0; i < chunk.count; i++) {
        const position = chunk.found[i]!
        if (position < 0) continue
        // Of an answer that waits for no group, nothing may be said that is not on disk yet.
        if (!at.isInGroup && table.isPending(position)) continue
        const index = chunk.records[i]!
        const place = table.place(position)
        if (place.partition !== batch.partition || place.offset !== at.baseOffset + index)
          duplicates.push({ index, ...place })
      }
    }
    return duplicates.length === 0 ? null : duplicates
  }

  #checkRoom(batch: BatchWithIds, time: number): void {
    const ids = batch.dedupIds.hashes.length / DEDUP_ID_HASH_BYTES
    // Duplicates need no room: looked up only when it matters, since a full index is rare.
    if (this.#hasRoom(batch, { ids, time })) return
    if (this.#hasRoom(batch, { ids: this.#countNew(batch, time), time })) return
    const waitMs = Math.max(1_000, this.#state.dedup.nextExpiry - time)
    throw new MillraceError('DEDUP_FULL', { retryAfterMs: Math.min(waitMs, RETRY_AFTER_MS_MAX) })
  }

  #hasRoom({ topicId }: BatchWithIds, { ids, time }: { ids: number; time: number }): boolean {
    const { dedup } = this.#state
    return ids === 0 || dedup.bytesAt(time) + dedup.growth(topicId, { ids, time }) <= this.#bytesMax
  }

  /** Ids that are not in the index; one that comes twice in the batch counts twice. */
  #countNew({ topicId, dedupIds }: BatchWithIds, time: number): number {
    const table = this.#state.dedup.topic(topicId)
    const chunk = this.#chunk
    let count = 0
    chunk.begin(dedupIds)
    while (chunk.next()) count += chunk.count - (table?.find(chunk, time) ?? 0)
    return count
  }
}
