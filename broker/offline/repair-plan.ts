import { join } from 'node:path'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import { chunkFileName, chunkIdOf } from '../chunks/format.js'
import { verifyChunk } from '../chunks/verify-chunk.js'
import { readContents } from '../manifest/manifest.js'
import type { ManifestContents } from '../manifest/rows.js'
import { ROW_KINDS } from '../manifest/schema.js'
import { listSnapshots } from '../manifest/snapshot.js'
import { readSnapshot } from '../manifest/snapshot-reader.js'
import type { StoreEntry } from '../manifest/store.js'
import type { Disk } from '../platform/disk.js'
import { type Layout, readCleanStop } from '../shard/layout.js'
import { replay } from '../shard/recover.js'
import type { PartitionState, ShardState } from '../shard/state.js'
import type { WalIdentity } from '../wal/position.js'
import { Filling, isLost, type OffsetRange, type Stretch, uncovered } from './coverage.js'
import { FileWindow } from './file-window.js'
import { type FoundEntry, findEntries } from './find-entries.js'
import type { DataFault } from './report.js'
import { type LostGroups, StateSalvage } from './salvage-state.js'
import { salvageWal } from './salvage-wal.js'
import { listSegmentFiles } from './segment-files.js'
import { type Examined, withoutMarker } from './verify.js'
import { type LostDedupIds, wholeIdsOf } from './whole-ids.js'

/** Records that no copy is left of. */
export interface LostRecords extends OffsetRange {
  readonly topicId: TopicId
  readonly topic: string
  readonly partition: number
}

/** One range of a partition that is written anew. */
export interface Rewrite {
  readonly partition: PartitionState
  readonly stretches: readonly Stretch[]
}

/** Where a state comes from that the manifest no longer gives. */
export type StateSource = 'manifest' | 'empty' | { readonly snapshot: string }

/** What a repair will do and what it cannot bring back. Nothing has been changed yet. */
export interface RepairPlan {
  readonly identity: WalIdentity
  readonly faults: readonly DataFault[]
  /** Undefined when manifest, WAL and chunks are left as they are. */
  readonly rebuild: Rebuild | undefined
  readonly isIdentityBad: boolean
  readonly isMarkerBad: boolean
  readonly badSnapshots: readonly string[]
  readonly lostRecords: readonly LostRecords[]
  readonly lostGroups: readonly LostGroups[]
  readonly lostDedupIds: readonly LostDedupIds[]
  /** Records of topics whose names are lost. */
  readonly orphans: ReadonlyMap<TopicId, number>
}

type Losses = 'lostRecords' | 'lostGroups' | 'lostDedupIds' | 'orphans'

export interface Rebuild {
  readonly source: StateSource
  /** After the last group; `chunks` of its partitions still has the rows of damaged files. */
  readonly state: ShardState
  /** The WAL goes on; else a new one begins and everything is in chunks. */
  readonly keepsWal: boolean
  /** Segments of a kept WAL that are damaged and that nothing needs. */
  readonly oldSegments: readonly string[]
  readonly badChunks: ReadonlySet<number>
  readonly rewrites: readonly Rewrite[]
}

/** The data directory holds too little to go on from. */
export class BeyondRepairError extends Error {
  override readonly name = 'BeyondRepairError'
}

const NOTHING = Object.fromEntries(ROW_KINDS.map((kind) => [kind, []])) as unknown as ManifestContents

/** Decides what to do about a damaged directory. Reads only. Throws BeyondRepairError. */
export async function planRepair(disk: Disk, layout: Layout, examined: Examined): Promise<RepairPlan> {
  const { identity, report, isMarkerBad, badSnapshots } = examined
  const newer = report.faults.find(({ isNewer }) => isNewer)
  if (newer !== undefined) {
    throw new BeyondRepairError(`${newer.file}: ${newer.reason}. If that is so, repair it with that release`)
  }
  if (identity === undefined) {
    throw new BeyondRepairError(
      `${layout.identity} cannot be restored: the WAL segments and the manifest do not agree whose they are, or there is none that can be read`,
    )
  }
  const planned = await new Planning(disk, layout, examined, identity).run()
  return {
    identity,
    faults: report.faults,
    isIdentityBad: report.faults.some(({ file }) => file === layout.identity),
    isMarkerBad,
    badSnapshots,
    ...planned,
  }
}

class Planning {
  readonly #disk: Disk
  readonly #layout: Layout
  readonly #examined: Examined
  readonly #identity: WalIdentity

  constructor(disk: Disk, layout: Layout, examined: Examined, identity: WalIdentity) {
    this.#disk = disk
    this.#layout = layout
    this.#examined = examined
    this.#identity = identity
  }

  async run(): Promise<Pick<RepairPlan, 'rebuild' | Losses>> {
    const { badChunks, scan } = this.#examined
    const { contents: found, source } = await this.#base()
    const path = this.#layout.dedupPages
    const { contents, lost: lostDedupIds } = await wholeIdsOf(found, { disk: this.#disk, path })
    const endedAt = await this.#lostEnd()
    const areIdsWhole = lostDedupIds.length === 0
    const kept =
      endedAt === undefined ? await this.#replayed(contents, areIdsWhole ? source : null) : undefined
    const isWhole =
      kept !== undefined && source === 'manifest' && areIdsWhole && scan !== undefined && badChunks.size === 0
    if (isWhole)
      return { rebuild: undefined, lostRecords: [], lostGroups: [], lostDedupIds, orphans: new Map() }
    if (kept !== undefined)
      return { ...(await this.#rebuild({ source, state: kept, keepsWal: true })), lostDedupIds }
    const salvage = new StateSalvage(this.#identity, contents)
    await this.#salvage(salvage, endedAt ?? 0)
    const { state } = salvage
    return { ...(await this.#rebuild({ source, state, keepsWal: false, salvage })), lostDedupIds }
  }

  /** What the state is rebuilt on: the manifest, else the newest good snapshot, else nothing, if the WAL is whole. */
  async #base(): Promise<{ contents: ManifestContents; source: StateSource }> {
    const { contents, badSnapshots } = this.#examined
    const { shard } = contents ?? {}
    const isOwn =
      shard === undefined ||
      (shard.clusterId === this.#identity.clusterId && shard.walId === this.#identity.walId)
    const segments = await listSegmentFiles(this.#disk, this.#layout.wal)
    const first = segments[0]
    const isFromTheBeginning =
      first !== undefined && (first.number === 1 || first.header?.firstSequence === 1)
    if (contents !== undefined && isOwn && (shard !== undefined || isFromTheBeginning))
      return { contents, source: 'manifest' }
    for (const { path } of await listSnapshots(this.#disk, this.#layout.snapshots)) {
      if (badSnapshots.includes(path)) continue
      const contents = await this.#snapshot(path)
      if (contents !== undefined) return { contents, source: { snapshot: path } }
    }
    if (isFromTheBeginning) return { contents: { ...NOTHING, shard: undefined }, source: 'empty' }
    throw new BeyondRepairError(
      `there is neither a manifest nor a snapshot of it that can be read, and the WAL does not reach back to its beginning: ` +
        'nothing says which topics there were. Restore manifest/ or snapshots/ from a backup',
    )
  }

  /** Undefined when its rows contradict each other. */
  async #snapshot(path: string): Promise<ManifestContents | undefined> {
    const rows: StoreEntry[] = []
    for await (const block of readSnapshot(this.#disk, path)) rows.push(...block)
    try {
      return readContents(rows).contents
    } catch (error) {
      if (error instanceof MillraceError) return undefined
      throw error
    }
  }

  /** The group that the clean-stop marker ends with, if the WAL ends before it. */
  async #lostEnd(): Promise<number | undefined> {
    const { isMarkerBad, scan } = this.#examined
    const stop = await readCleanStop(this.#disk, this.#layout).catch(() => undefined)
    if (stop === undefined) return undefined
    const end = scan?.end
    if (end === undefined) return stop.sequence
    const isElsewhere = stop.sequence > end.sequence && stop.headerCrc !== end.headerCrc
    return isMarkerBad && isElsewhere ? stop.sequence : undefined
  }

  /** The state of a WAL that is whole as far as it is needed; undefined when it is not. `source`: null for altered contents. */
  async #replayed(contents: ManifestContents, source: StateSource | null): Promise<ShardState | undefined> {
    if (source === 'manifest') return this.#examined.state
    const layout = withoutMarker(this.#layout)
    const replayed = replay({
      disk: this.#disk,
      layout,
      identity: this.#identity,
      contents,
      isThorough: true,
    })
    return await replayed.then(
      ({ state }) => state,
      () => undefined,
    )
  }

  async #salvage(salvage: StateSalvage, endedAt: number): Promise<void> {
    const { state } = salvage
    const acknowledged = Math.max(endedAt, state.applied.sequence)
    const directory = this.#layout.wal
    for await (const piece of salvageWal({ disk: this.#disk, directory, walId: this.#identity.walId })) {
      // Behind the last group that anything proves there may be a write that never finished.
      if (piece.isTail && piece.first > acknowledged) continue
      salvage.take(piece)
    }
    for (const chunkId of await this.#unreferenced(state)) {
      const { sections, fault } = await verifyChunk({
        disk: this.#disk,
        directory: this.#layout.chunks,
        chunkId,
      })
      if (fault !== undefined) continue
      for (const { topicId, partition: number, section } of sections) {
        const partition = state.partition(topicId, number)
        if (partition !== undefined) salvage.raiseEnd(partition, section.endOffset)
      }
    }
    salvage.finish(endedAt)
  }

  async #rebuild(found: {
    source: StateSource
    state: ShardState
    keepsWal: boolean
    salvage?: StateSalvage
  }): Promise<Omit<Pick<RepairPlan, 'rebuild' | Losses>, 'lostDedupIds'>> {
    const { source, state, keepsWal, salvage } = found
    const badChunks = await this.#badChunks(state)
    const fillings = new Map<PartitionState, Filling>()
    for (const partition of partitionsOf(state)) {
      const good = partition.chunks.filter(({ chunkId }) => !badChunks.has(chunkId))
      const ranges = uncovered(partition, good, keepsWal ? partition.sealedEnd : partition.endOffset)
      if (ranges.length > 0) fillings.set(partition, new Filling(ranges))
    }
    if (fillings.size > 0) await this.#offerAll(state, fillings, badChunks)
    const rewrites: Rewrite[] = []
    const lostRecords: LostRecords[] = []
    for (const [partition, filling] of fillings) {
      const topic = state.topics.get(partition.topicId)?.row.name ?? partition.topicId
      for (const stretches of filling.stretches()) {
        rewrites.push({ partition, stretches })
        for (const { from: first, to } of stretches.filter(isLost)) {
          const from = Math.max(first, partition.startOffset)
          if (from >= to) continue
          lostRecords.push({ topicId: partition.topicId, topic, partition: partition.partition, from, to })
        }
      }
    }
    const oldSegments = keepsWal ? await this.#oldSegments(state) : []
    return {
      rebuild: { source, state, keepsWal, oldSegments, badChunks, rewrites },
      lostRecords,
      lostGroups: salvage?.lostGroups ?? [],
      orphans: salvage?.orphans ?? new Map(),
    }
  }

  /** Those that are damaged, and those that the state refers to and that are missing or others than it says. */
  async #badChunks(state: ShardState): Promise<Set<number>> {
    // The examination went by the manifest's state, which may be another.
    if (state === this.#examined.state) return new Set(this.#examined.badChunks)
    const bad = new Set<number>()
    for (const partition of partitionsOf(state)) {
      for (const row of partition.chunks) {
        if (bad.has(row.chunkId)) continue
        const { clusterId } = this.#identity
        const options = { disk: this.#disk, directory: this.#layout.chunks, chunkId: row.chunkId, clusterId }
        const { fault, sections } = await verifyChunk(options)
        const isThere = sections.some(
          ({ topicId, partition: number, section }) =>
            topicId === row.topicId && number === row.partition && section.digest === row.section.digest,
        )
        if (fault !== undefined || !isThere) bad.add(row.chunkId)
      }
    }
    return bad
  }

  /** Looks for copies of what is missing everywhere: in the WAL, in damaged chunks, in those that nothing refers to. */
  async #offerAll(
    state: ShardState,
    fillings: ReadonlyMap<PartitionState, Filling>,
    badChunks: ReadonlySet<number>,
  ): Promise<void> {
    const offer = (entry: FoundEntry, isCertain = true): void => {
      const partition = state.partition(entry.header.topicId, entry.header.partition)
      if (partition !== undefined) fillings.get(partition)?.offer(entry, isCertain)
    }
    const { walId } = this.#identity
    for await (const { appends, isCertain } of salvageWal({
      disk: this.#disk,
      directory: this.#layout.wal,
      walId,
    })) {
      for (const entry of appends) offer(entry, isCertain)
    }
    for (const chunkId of [...badChunks, ...(await this.#unreferenced(state))]) {
      const path = join(this.#layout.chunks, chunkFileName(chunkId))
      if (!(await this.#disk.exists(path))) continue
      const window = await FileWindow.open(this.#disk, path)
      for await (const entry of findEntries(window, { start: 0, end: window.bytes })) offer(entry)
      await window.close()
    }
  }

  async #unreferenced(state: ShardState): Promise<number[]> {
    const names = await this.#disk.list(this.#layout.chunks)
    return names.map(chunkIdOf).filter((id) => id !== undefined && !state.chunkReferences.has(id)) as number[]
  }

  /** Segments before the first that a start reads, if any of them is damaged. */
  async #oldSegments(state: ShardState): Promise<string[]> {
    if (this.#examined.scan !== undefined) return []
    const segments = await listSegmentFiles(this.#disk, this.#layout.wal)
    const needed = replayFromOf(state)
    const start = segments.findLastIndex(
      ({ header }) => header !== undefined && header.firstSequence <= needed,
    )
    return segments.slice(0, Math.max(0, start)).map(({ path }) => path)
  }
}

export function* partitionsOf(state: ShardState): Generator<PartitionState> {
  for (const { partitions } of state.topics.values()) yield* partitions
}

/** The first group that holds anything that is not in chunks. */
export function replayFromOf(state: ShardState): number {
  let replayFrom = state.applied.sequence + 1
  for (const { tail, sealedEnd } of partitionsOf(state)) {
    replayFrom = Math.min(replayFrom, tail.firstUnsealed(sealedEnd)?.sequence ?? replayFrom)
  }
  return replayFrom
}
