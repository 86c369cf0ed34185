import type { KeyRange, Store, StoreChanges, StoreEntry, StoreView } from '../broker/manifest/store.js'
import type { MortalOperations } from './mortal-operations.js'

/** A store for one life of a broker: no transaction begins after its end, and one under way is whole or absent, as ever. */
export class MortalStore implements Store {
  readonly #store: Store
  readonly #operations: MortalOperations

  constructor(store: Store, operations: MortalOperations) {
    this.#store = store
    this.#operations = operations
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#store.get(key)
  }

  entries(range?: KeyRange): Iterable<StoreEntry> {
    return this.#store.entries(range)
  }

  commit(changes: StoreChanges): Promise<void> {
    return this.#operations.run(() => this.#store.commit(changes))
  }

  view(): StoreView {
    return this.#store.view()
  }

  sizeBytes(): number {
    return this.#store.sizeBytes()
  }

  close(): Promise<void> {
    return this.#operations.run(() => this.#store.close())
  }
}
