import { statSync } from 'node:fs'
import { join } from 'node:path'
import { open, type RootDatabase, type RootDatabaseOptionsWithPath, type Transaction } from 'lmdb'
import type { Disk } from '../platform/disk.js'
import { checkLmdbFile } from './lmdb-file.js'
import {
  type KeyRange,
  type Store,
  type StoreChanges,
  type StoreEntry,
  StoreFailed,
  type StoreView,
} from './store.js'

type Database = RootDatabase<Uint8Array, Uint8Array>

/** Address space, not memory and not disk: reserved at once, because growing the map moves it. */
const defaultMapBytes = 16 * 1024 ** 3
const dataFile = 'data.mdb'
/** LMDB's limit at its page size of 4 KiB. */
const keyBytesMax = 1_978

/**
 * The store on LMDB, through lmdb-js. One process at a time: the data directory's lock sees to that.
 */
export class LmdbStore implements Store {
  readonly #database: Database
  readonly #path: string
  readonly #views = new Set<LmdbView>()
  #committing: Promise<void> | undefined
  #failure: StoreFailed | undefined
  #closing: Promise<void> | undefined

  private constructor(database: Database, path: string) {
    this.#database = database
    this.#path = path
  }

  /**
   * Opens the store in `directory`, creating both. Throws ManifestCorruption when LMDB's file is damaged: LMDB itself
   * would crash over it.
   */
  static async open(options: { disk: Disk; directory: string; mapBytes?: number }): Promise<LmdbStore> {
    const { disk, directory, mapBytes = defaultMapBytes } = options
    await disk.makeDirectory(directory)
    await checkLmdbFile(disk, join(directory, dataFile))
    const settings: RootDatabaseOptionsWithPath & { safeRestore: boolean } = {
      path: directory,
      noSubdir: false,
      mapSize: mapBytes,
      encoding: 'binary',
      keyEncoding: 'binary',
      // A commit then syncs before it is visible, and one that fails is rolled back (README).
      overlappingSync: false,
      safeRestore: true,
    }
    const database: Database = open(settings)
    // LMDB creates its files without syncing the directory that names them.
    await disk.syncDirectory(directory)
    return new LmdbStore(database, join(directory, dataFile))
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    return this.#database.get(key)
  }

  *entries(range?: KeyRange): Generator<StoreEntry, void, undefined> {
    const view = this.view()
    try {
      yield* view.entries(range)
    } finally {
      view.close()
    }
  }

  async commit(changes: StoreChanges): Promise<void> {
    this.#assertOpen()
    // A second transaction on a failed environment would never be answered (README).
    if (this.#failure) throw this.#failure
    if (this.#committing) throw new Error('one commit at a time')
    // Checked here because nothing may throw inside the batch: one left half way is committed as far as it came.
    for (const key of changes.deletes) assertKey(key)
    for (const [key] of changes.puts) assertKey(key)
    this.#committing = this.#write(changes)
    try {
      await this.#committing
    } finally {
      this.#committing = undefined
    }
  }

  view(): LmdbView {
    this.#assertOpen()
    const view = new LmdbView(this.#database, () => this.#views.delete(view))
    this.#views.add(view)
    return view
  }

  sizeBytes(): number {
    return statSync(this.#path).size
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #write({ deletes, puts }: StoreChanges): Promise<void> {
    const database = this.#database
    try {
      await database.batch(() => {
        for (const key of deletes) database.remove(key)
        for (const [key, value] of puts) database.put(key, value)
      })
    } catch (error) {
      this.#failure = new StoreFailed(`the manifest cannot be written: ${await reasonOf(error)}`, {
        cause: error,
      })
      throw this.#failure
    }
  }

  async #close(): Promise<void> {
    await this.#committing?.catch(() => {})
    // LMDB must not unmap beneath an open cursor.
    for (const view of [...this.#views]) view.close()
    await this.#database.close()
  }

  #assertOpen(): void {
    if (this.#closing) throw new StoreFailed('the store is closed')
  }
}

function assertKey(key: Uint8Array): void {
  if (key.length === 0 || key.length > keyBytesMax)
    throw new RangeError(`a key of ${key.length} bytes cannot be stored`)
}

/** One read transaction of LMDB. */
class LmdbView implements StoreView {
  readonly #database: Database
  readonly #transaction: Transaction
  readonly #onClose: () => void
  readonly #iterators = new Set<Iterator<unknown>>()
  #isClosed = false

  constructor(database: Database, onClose: () => void) {
    this.#database = database
    this.#transaction = database.useReadTransaction()
    this.#onClose = onClose
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    return this.#database.get(key, { transaction: this.#transaction })
  }

  *entries(range: KeyRange = {}): Generator<StoreEntry, void, undefined> {
    this.#assertOpen()
    const rows = this.#database.getRange({ ...range, transaction: this.#transaction })[Symbol.iterator]()
    this.#iterators.add(rows)
    try {
      for (;;) {
        this.#assertOpen()
        const next = rows.next()
        if (next.done) return
        yield [next.value.key, next.value.value]
      }
    } finally {
      // After close() this iterator has been ended already.
      if (this.#iterators.delete(rows)) rows.return?.()
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const rows of this.#iterators) rows.return?.()
    this.#iterators.clear()
    this.#transaction.done()
    this.#onClose()
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreFailed('the view of the store is closed')
  }
}

/** lmdb-js rejects with a generic error; the cause comes as the rejection of a promise that it carries. */
async function reasonOf(error: unknown): Promise<string> {
  const { commitError, message } = error as Error & { commitError?: Promise<never> }
  const cause = commitError?.then(
    () => message,
    (reason: unknown) => (reason instanceof Error ? reason.message : String(reason)),
  )
  const later = new Promise<string>((resolve) => setTimeout(resolve, 1_000, message).unref())
  return cause === undefined ? message : Promise.race([cause, later])
}
