import {
  bitAt,
  bitmapBytes,
  DEDUP_ID_HASH_BYTES,
  type DedupIds,
  setBit,
} from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { DuplicateRecord } from '../../protocol/messages/checked-produce.js'
import type { AppendBatch } from './batch-check.js'
import { DedupKey, type DedupPlace } from './dedup-bucket.js'
import { DedupTable } from './dedup-table.js'
import type { ShardState } from './state.js'

/** A batch with dedup ids. */
export type BatchWithIds = AppendBatch & { readonly dedupIds: DedupIds }

export const hasIds = (batch: AppendBatch): batch is BatchWithIds => batch.dedupIds !== null

/** Which records of a batch are duplicates. */
export interface ResolvedIds {
  readonly duplicates: readonly DuplicateRecord[]
  /** One bit a record, those of `duplicates`; undefined for none. */
  readonly omitted: Uint8Array | undefined
  /** Every record is a duplicate: there is nothing to write. */
  readonly isNothingNew: boolean
  /** An original is in the group that is being cut: whoever hears of it must wait for the group. */
  readonly isInGroup: boolean
}

/** Ids by topic that are not in the index yet. */
export class NewIds {
  readonly #tables = new Map<TopicId, DedupTable>()

  of(topicId: TopicId): DedupTable | undefined {
    return this.#tables.get(topicId)
  }

  begin(topicId: TopicId): DedupTable {
    let table = this.#tables.get(topicId)
    if (table === undefined) {
      table = new DedupTable({ windowMs: Number.POSITIVE_INFINITY })
      table.addBucket({ start: 0, widthMs: 0 })
      this.#tables.set(topicId, table)
    }
    return table
  }

  clear(): void {
    this.#tables.clear()
  }
}

/** `DEDUP_FULL` is worth another try no later than this, whatever the window. */
const RETRY_AFTER_MS_MAX = 60_000

/**
 * The dedup ids of the group that is being cut. They reach the index when the group is applied; until then a duplicate is
 * found here, so that of two that race the second one knows.
 */
export class CutIds {
  readonly #state: ShardState
  readonly #bytesMax: number
  readonly #pending = new NewIds()
  /** What the index will grow by once the group is applied, at most. */
  readonly #growth = new Map<TopicId, number>()
  #growthBytes = 0
  readonly #key = new DedupKey()

  /** `bytesMax`: of the index. */
  constructor({ state, bytesMax }: { state: ShardState; bytesMax: number }) {
    this.#state = state
    this.#bytesMax = bytesMax
  }

  /** Forgets the group that was cut: it is applied now. */
  reset(): void {
    if (this.#growth.size === 0) return
    this.#pending.clear()
    this.#growth.clear()
    this.#growthBytes = 0
  }

  /** Throws DEDUP_FULL when the index has no room for the ids of all these batches. */
  checkRoom(batches: readonly BatchWithIds[], time: number): void {
    if (this.#hasRoom(batches, { time, idsOf: countOf })) return
    // Duplicates need no room: looked up only now, since a full index is rare.
    if (this.#hasRoom(batches, { time, idsOf: (batch) => this.#countNew(batch, time) })) return
    const waitMs = Math.max(1_000, this.#state.dedup.nextExpiry - time)
    throw new MillraceError('DEDUP_FULL', { retryAfterMs: Math.min(waitMs, RETRY_AFTER_MS_MAX) })
  }

  /**
   * Finds the duplicates of a batch that would begin at `baseOffset`, and puts the ids that are new into `into`: what
   * later records find. Without `into` they are the group's from here on.
   */
  resolve(
    batch: BatchWithIds,
    { baseOffset, time, into = this.#pending }: { baseOffset: number; time: number; into?: NewIds },
  ): ResolvedIds {
    const { topicId, partition, recordCount } = batch
    const index = this.#state.dedup.topic(topicId)
    const pending = this.#pending.of(topicId)
    const fresh = into.begin(topicId)
    const duplicates: DuplicateRecord[] = []
    let omitted: Uint8Array | undefined
    let isInGroup = false
    index?.touch(batch.dedupIds.hashes)
    this.#each(batch, (record, key) => {
      let place = index?.find(key, time)
      if (place === undefined) {
        place = fresh.find(key, time) ?? (fresh === pending ? undefined : pending?.find(key, time))
        if (place === undefined) return fresh.insert(key, { partition, offset: baseOffset + record })
        isInGroup = true
      }
      duplicates.push({ index: record, ...place })
      omitted ??= new Uint8Array(bitmapBytes(recordCount))
      setBit(omitted, record)
    })
    if (into === this.#pending) this.#count(topicId, fresh, time)
    return { duplicates, omitted, isNothingNew: duplicates.length === recordCount, isInGroup }
  }

  /** Makes the ids of a resolved batch the group's. */
  keep(
    batch: BatchWithIds,
    { omitted, baseOffset, time }: { omitted: Uint8Array | undefined; baseOffset: number; time: number },
  ): void {
    const { topicId, partition } = batch
    const table = this.#pending.begin(topicId)
    this.#each(batch, (record, key) => {
      if (omitted === undefined || !bitAt(omitted, record))
        table.insert(key, { partition, offset: baseOffset + record })
    })
    this.#count(topicId, table, time)
  }

  /**
   * The duplicates in a batch that an idempotent producer sends again and that was written at `baseOffset`; null for
   * none. An id that the index forgot since counts as written with the batch.
   */
  ofRetry(batch: BatchWithIds, at: { baseOffset: number; time: number }): readonly DuplicateRecord[] | null {
    const duplicates: DuplicateRecord[] = []
    this.#each(batch, (record, key) => {
      const place = this.#find(batch.topicId, key, at.time)
      if (place === undefined) return
      if (place.partition === batch.partition && place.offset === at.baseOffset + record) return
      duplicates.push({ index: record, ...place })
    })
    return duplicates.length === 0 ? null : duplicates
  }

  /** Ids that are neither in the index nor in the group; one that comes twice in the batch counts twice. */
  #countNew(batch: BatchWithIds, time: number): number {
    let count = 0
    this.#each(batch, (_record, key) => {
      if (this.#find(batch.topicId, key, time) === undefined) count++
    })
    return count
  }

  #find(topicId: TopicId, key: DedupKey, time: number): DedupPlace | undefined {
    return this.#state.dedup.topic(topicId)?.find(key, time) ?? this.#pending.of(topicId)?.find(key, time)
  }

  #each({ recordCount, dedupIds }: BatchWithIds, visit: (record: number, key: DedupKey) => void): void {
    let at = 0
    for (let record = 0; record < recordCount; record++) {
      if (!bitAt(dedupIds.bitmap, record)) continue
      visit(record, this.#key.read(dedupIds.hashes, at))
      at += DEDUP_ID_HASH_BYTES
    }
  }

  #hasRoom(
    batches: readonly BatchWithIds[],
    { time, idsOf }: { time: number; idsOf: (batch: BatchWithIds) => number },
  ): boolean {
    const { dedup } = this.#state
    const added = new Map<TopicId, number>()
    for (const batch of batches) added.set(batch.topicId, (added.get(batch.topicId) ?? 0) + idsOf(batch))
    let bytes = dedup.bytesAt(time) + this.#growthBytes
    for (const [topicId, ids] of added) {
      if (ids === 0) continue
      const pending = this.#pending.of(topicId)?.ids ?? 0
      bytes += dedup.growth(topicId, { ids: pending + ids, time }) - (this.#growth.get(topicId) ?? 0)
    }
    return bytes <= this.#bytesMax
  }

  #count(topicId: TopicId, pending: DedupTable, time: number): void {
    const growth = pending.ids === 0 ? 0 : this.#state.dedup.growth(topicId, { ids: pending.ids, time })
    this.#growthBytes += growth - (this.#growth.get(topicId) ?? 0)
    this.#growth.set(topicId, growth)
  }
}

const countOf = ({ dedupIds }: BatchWithIds): number => dedupIds.hashes.length / DEDUP_ID_HASH_BYTES
