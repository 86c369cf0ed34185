import {
  type KeyRange,
  type Store,
  type StoreChanges,
  type StoreEntry,
  StoreFailed,
  type StoreView,
} from '../../broker/manifest/store.js'
import { SeededRandom } from './seeded-random.js'

type Rows = ReadonlyMap<string, StoreEntry>

export interface SimulatedStoreOptions {
  /** The same seed and the same calls give the same store. */
  readonly seed?: number
  /** Turns of the loop that a commit takes. */
  readonly commitTurns?: number
  readonly rows?: Rows
}

/**
 * A store in memory that keeps exactly the promises of `Store`: a commit is whole or absent, and one that has not
 * resolved when the store crashes may be either.
 */
export class SimulatedStore implements Store {
  readonly seed: number
  readonly #random: SeededRandom
  readonly #commitTurns: number
  /** Replaced by every commit, never changed: a view keeps the one it began with. */
  #rows: Rows
  #pending: Rows | undefined
  #committing: Promise<void> | undefined
  #failure: StoreFailed | undefined
  #failNext: Error | undefined
  #views = new Set<SimulatedView>()
  #state: 'open' | 'closed' | 'dead' = 'open'

  constructor(options: SimulatedStoreOptions = {}) {
    this.seed = options.seed ?? 1
    this.#random = new SeededRandom(this.seed)
    this.#commitTurns = options.commitTurns ?? 1
    this.#rows = options.rows ?? new Map()
  }

  /** Cuts the power: this store is dead, commits under way never settle. Returns what the next process finds. */
  crash(): SimulatedStore {
    this.#state = 'dead'
    const rows = this.#pending && this.#random.chance(0.5) ? this.#pending : this.#rows
    return new SimulatedStore({ seed: this.#random.uint32(), commitTurns: this.#commitTurns, rows })
  }

  /** The next commit changes nothing and rejects with a StoreFailed around this error. */
  failNextCommit(error: Error): void {
    this.#failNext = error
  }

  /** A copy of the store whose rows went through `change`, as damage would: nothing is checked. */
  altered(change: (rows: StoreEntry[]) => StoreEntry[]): SimulatedStore {
    const rows = change([...this.entries()].map(([key, value]) => [key, value]))
    return new SimulatedStore({ seed: this.seed, rows: new Map(rows.map((row) => [hex(row[0]), row])) })
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    return copyOf(this.#rows.get(hex(key))?.[1])
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
    if (this.#failure) throw this.#failure
    if (this.#committing) throw new Error('one commit at a time')
    const rows = new Map(this.#rows)
    for (const key of changes.deletes) rows.delete(hex(key))
    for (const [key, value] of changes.puts) rows.set(hex(key), [key.slice(), value.slice()])
    this.#pending = rows
    this.#committing = this.#settle(rows)
    await this.#committing
  }

  view(): StoreView {
    this.#assertOpen()
    const view = new SimulatedView(this.#rows, () => this.#views.delete(view))
    this.#views.add(view)
    return view
  }

  sizeBytes(): number {
    let bytes = 0
    for (const [key, value] of this.#rows.values()) bytes += key.length + value.length
    return bytes
  }

  async close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closed'
    await this.#committing?.catch(() => {})
    for (const view of [...this.#views]) view.close()
  }

  async #settle(rows: Rows): Promise<void> {
    for (let turn = 0; turn < this.#commitTurns; turn++) await new Promise((resolve) => setImmediate(resolve))
    if (this.#state === 'dead') return new Promise(() => {})
    this.#pending = undefined
    this.#committing = undefined
    if (this.#failNext) {
      this.#failure = new StoreFailed(`the manifest cannot be written: ${this.#failNext.message}`)
      throw this.#failure
    }
    this.#rows = rows
  }

  #assertOpen(): void {
    if (this.#state !== 'open') throw new StoreFailed(`the store is ${this.#state}`)
  }
}

class SimulatedView implements StoreView {
  readonly #rows: Rows
  readonly #onClose: () => void
  #isClosed = false

  constructor(rows: Rows, onClose: () => void) {
    this.#rows = rows
    this.#onClose = onClose
  }

  get(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    return copyOf(this.#rows.get(hex(key))?.[1])
  }

  *entries({ start, end }: KeyRange = {}): Generator<StoreEntry, void, undefined> {
    this.#assertOpen()
    const names = [...this.#rows.keys()].sort()
    for (const name of names) {
      this.#assertOpen()
      if (start && name < hex(start)) continue
      if (end && name >= hex(end)) return
      const [key, value] = this.#rows.get(name) as StoreEntry
      yield [key.slice(), value.slice()]
    }
    this.#assertOpen()
  }

  close(): void {
    this.#isClosed = true
    this.#onClose()
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StoreFailed('the view of the store is closed')
  }
}

/** Hex sorts as the bytes do. */
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const copyOf = (bytes: Uint8Array | undefined): Uint8Array | undefined => bytes?.slice()
