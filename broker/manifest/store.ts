/** A key and its value. Both belong to the receiver. */
export type StoreEntry = readonly [key: Uint8Array, value: Uint8Array]

/** Keys from `start` (included) to `end` (not included), compared as bytes. */
export interface KeyRange {
  readonly start?: Uint8Array
  readonly end?: Uint8Array
}

export interface StoreChanges {
  readonly deletes: readonly Uint8Array[]
  /** Applied after the deletes. */
  readonly puts: readonly StoreEntry[]
}

export interface StoreReader {
  get(key: Uint8Array): Uint8Array | undefined
  /** In the order of the keys. */
  entries(range?: KeyRange): Iterable<StoreEntry>
}

/** The store as it was when the view was opened, whatever is committed meanwhile. Close it soon: it holds pages. */
export interface StoreView extends StoreReader {
  close(): void
}

/** An ordered key-value store with durable transactions. */
export interface Store extends StoreReader {
  /**
   * Applies the changes as one transaction: all or nothing, on disk and readable once this resolves. One call at a
   * time; keys and values must not change until it settles. After a rejection the store is as it was before the call and refuses every further commit: what the disk
   * holds is known again only after a restart.
   */
  commit(changes: StoreChanges): Promise<void>
  view(): StoreView
  /** Size on disk, free pages included. */
  sizeBytes(): number
  /** Waits for a commit under way; open views end with an error at their next step. Idempotent. */
  close(): Promise<void>
}

/** What a store rejects with: the disk refused, or an earlier refusal stands. */
export class StoreFailed extends Error {
  override readonly name = 'StoreFailed'
}
