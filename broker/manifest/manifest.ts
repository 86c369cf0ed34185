import { ManifestCorruption } from './corruption.js'
import { checkInvariants } from './invariants.js'
import { checkFormat, MANIFEST_FORMAT } from './migrate.js'
import { decodeRow, encodeRow, encodeRowKey } from './row-codec.js'
import type { ManifestChanges, ManifestContents, RowKind, ShardRow } from './rows.js'
import { FORMAT_KEYSPACE, KEYSPACES, type Keyspace, ROW_KINDS, SHARD_KEYSPACE } from './schema.js'
import type { Store, StoreChanges, StoreEntry } from './store.js'

/**
 * The durable copy of the shard's state: loaded whole at start, then written to only. Not re-entrant: one flush at a
 * time.
 */
export class Manifest {
  readonly #store: Store
  /** Undefined before `load`. */
  #isCurrent: boolean | undefined

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Everything that was flushed. Throws ManifestCorruption (code CORRUPT_DATA) when any row is damaged, missing or
   * contradicts another, UNSUPPORTED_VERSION when a newer Millrace wrote it.
   */
  load(): ManifestContents {
    const { contents, format } = readContents(this.#store.entries())
    this.#isCurrent = format === MANIFEST_FORMAT
    return contents
  }

  /**
   * Writes the changes in one transaction, durable when this resolves. They are encoded before this returns: what
   * happens to the rows afterwards does not matter. Rejects with StoreFailed, or with what `after` rejects with; nothing of
   * the flush is kept then.
   */
  async flush(changes: ManifestChanges, options: { after?: Promise<void> } = {}): Promise<void> {
    if (this.#isCurrent === undefined) throw new Error('a manifest is loaded before it is flushed')
    const encoded = encodeChanges(changes, { withFormat: !this.#isCurrent })
    if (options.after !== undefined) await options.after
    await this.#store.commit(encoded)
    this.#isCurrent = true
  }
}

/** Rows of a whole manifest, decoded and checked. */
export function readContents(entries: Iterable<StoreEntry>): {
  contents: ManifestContents
  format: number | undefined
} {
  const rows = Object.fromEntries(ROW_KINDS.map((kind) => [kind, []])) as unknown as Record<
    RowKind,
    unknown[]
  >
  let format: number | undefined
  let shard: ShardRow | undefined
  for (const entry of entries) {
    const decoded = decodeRow(entry)
    if (decoded.kind === 'format') {
      format = decoded.row.format
      checkFormat(format)
    } else if (decoded.kind === 'shard') shard = decoded.row
    else rows[decoded.kind].push(decoded.row)
  }
  const contents = { shard, ...rows } as unknown as ManifestContents
  checkInvariants(contents)
  if ((format === undefined) !== (shard === undefined)) {
    throw new ManifestCorruption({
      keyspace: format === undefined ? 'format' : 'shard',
      reason: 'its row is missing',
    })
  }
  return { contents, format }
}

function encodeChanges(changes: ManifestChanges, { withFormat }: { withFormat: boolean }): StoreChanges {
  const puts: StoreEntry[] = []
  const deletes: Uint8Array[] = []
  for (const kind of ROW_KINDS) {
    // The kinds differ, the way they are written does not.
    const space = KEYSPACES[kind] as Keyspace<unknown, unknown>
    for (const key of changes.delete?.[kind] ?? []) deletes.push(encodeRowKey(space, key))
    for (const row of changes.put?.[kind] ?? []) puts.push(encodeRow(space, row))
  }
  puts.push(encodeRow(SHARD_KEYSPACE, changes.shard))
  if (withFormat) puts.push(encodeRow(FORMAT_KEYSPACE, { format: MANIFEST_FORMAT }))
  return { deletes, puts }
}
