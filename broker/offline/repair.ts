import { rm } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { chunkFileName, chunkIdOf } from '../chunks/format.js'
import { LmdbStore } from '../manifest/lmdb-store.js'
import { Manifest } from '../manifest/manifest.js'
import type { ChunkRow } from '../manifest/rows.js'
import { listSnapshots, writeSnapshot } from '../manifest/snapshot.js'
import type { Disk } from '../platform/disk.js'
import type { Random } from '../platform/random.js'
import { type Layout, layoutOf } from '../shard/layout.js'
import type { PartitionState, ShardState } from '../shard/state.js'
import { allRows } from '../shard/state-rows.js'
import type { WalIdentity } from '../wal/position.js'
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentFileName } from '../wal/segment.js'
import { lockDataDirectory } from './directory.js'
import { rowsOfLmdb } from './manifest-rows.js'
import { carryOut, type Journal, nextBroken, readJournal } from './moves.js'
import { partitionsOf, planRepair, type Rebuild, type RepairPlan, replayFromOf } from './repair-plan.js'
import type { OnProgress, VerifyReport } from './report.js'
import { ChunkRewrite } from './rewrite-chunks.js'
import { listSegmentFiles } from './segment-files.js'
import { examine } from './verify.js'

export interface RepairOptions {
  readonly disk: Disk
  readonly directory: string
  readonly random: Random
  /** Asked before anything is changed. */
  readonly confirm: (plan: RepairPlan) => Promise<boolean> | boolean
  /** Asked when an earlier repair was interrupted, which has to be finished first. Without it that is done. */
  readonly confirmResume?: () => boolean
  readonly onProgress?: OnProgress
}

export interface RepairResult {
  /** `notNeeded`: nothing is damaged. `refused`: the plan was not confirmed. Nothing was changed in either case. */
  readonly outcome: 'notNeeded' | 'refused' | 'repaired'
  readonly plan: RepairPlan | undefined
  /** Of the directory as it is now. */
  readonly report: VerifyReport
  /** Where the copies of what was replaced are, relative to the directory. */
  readonly broken: readonly string[]
}

/** Where the new parts are made before they take their places. */
const stagingName = 'repair'
/** The size of a segment that nothing is written to: the next start goes on in one of its own. */
const emptySegmentBytes = 2 * SEGMENT_HEADER_BYTES

/**
 * Makes a damaged data directory one that a broker starts on, with everything that any copy is left of. What is
 * replaced is kept under names that end in `.broken`. Throws NotADataDirectoryError, BeyondRepairError, and
 * DirectoryLockedError while a broker runs on the directory.
 */
export async function repairDirectory(options: RepairOptions): Promise<RepairResult> {
  const { disk, confirm, onProgress } = options
  const layout = layoutOf(options.directory)
  const lock = await lockDataDirectory(disk, layout)
  try {
    const examination = { disk, layout, readRows: rowsOfLmdb(disk), onProgress }
    const interrupted = await readJournal(disk, layout)
    if (interrupted !== undefined) {
      if (options.confirmResume?.() === false) {
        const { report } = await examine(examination)
        return { outcome: 'refused', plan: undefined, report, broken: [] }
      }
      await exchange(disk, layout, interrupted)
    }
    const examined = await examine(examination)
    if (examined.report.status !== 'corrupt') {
      return { outcome: 'notNeeded', plan: undefined, report: examined.report, broken: [] }
    }
    const plan = await planRepair(disk, layout, examined)
    if (!(await confirm(plan))) return { outcome: 'refused', plan, report: examined.report, broken: [] }
    const broken = await new Repair(options, layout, plan).run()
    return { outcome: 'repaired', plan, report: (await examine(examination)).report, broken }
  } finally {
    await lock.release()
  }
}

/** Puts the new parts in their places; nothing is left beside them. */
async function exchange(disk: Disk, layout: Layout, journal: Journal): Promise<void> {
  await carryOut(disk, layout, journal)
  await rm(join(layout.root, stagingName), { recursive: true, force: true })
}

/** Carries out one plan: makes all new parts aside, then exchanges them for the old ones. */
class Repair {
  readonly #disk: Disk
  readonly #random: Random
  readonly #layout: Layout
  readonly #plan: RepairPlan
  readonly #staging: Layout
  readonly #moves: [from: string, to: string][] = []
  readonly #broken: string[] = []
  #number = 1

  constructor({ disk, random }: RepairOptions, layout: Layout, plan: RepairPlan) {
    this.#disk = disk
    this.#random = random
    this.#layout = layout
    this.#plan = plan
    this.#staging = layoutOf(join(layout.root, stagingName))
  }

  /** Returns what was set aside. */
  async run(): Promise<string[]> {
    const { identity, rebuild, isIdentityBad, isMarkerBad, badSnapshots } = this.#plan
    this.#number = await nextBroken(this.#disk, this.#layout)
    const { cleanMarker } = this.#layout
    if (isMarkerBad || rebuild?.keepsWal === false) this.#setAside(cleanMarker)
    if (rebuild === undefined) for (const path of badSnapshots) this.#setAside(path, 'snapshots')
    else await this.#rebuild(rebuild, identity)
    if (isIdentityBad) await this.#copyIdentity()
    await exchange(this.#disk, this.#layout, { identity, moves: this.#moves })
    const kept: string[] = []
    for (const path of this.#broken) {
      // What was missing could not be set aside.
      if (await this.#disk.exists(join(this.#layout.root, path))) kept.push(path)
    }
    return kept
  }

  async #rebuild(rebuild: Rebuild, identity: WalIdentity): Promise<void> {
    const { state, keepsWal, badChunks, oldSegments } = rebuild
    await this.#makeStaging()
    const rows = await this.#writeChunks(rebuild, identity)
    takeRows(state, badChunks, rows)
    if (!keepsWal) for (const partition of partitionsOf(state)) partition.sealedEnd = partition.endOffset
    await this.#writeManifest(state)
    for (const chunkId of badChunks)
      this.#setAside(join(this.#layout.chunks, chunkFileName(chunkId)), 'chunks')
    for (const name of await this.#disk.list(this.#staging.chunks)) {
      this.#move(join(this.#staging.chunks, name), join(this.#layout.chunks, name))
    }
    for (const path of oldSegments) this.#setAside(path, 'wal')
    if (keepsWal) return
    await this.#writeWal(state, identity)
    this.#replace(this.#layout.wal, this.#staging.wal)
  }

  async #writeChunks(
    { state, rewrites, badChunks }: Rebuild,
    identity: WalIdentity,
  ): Promise<readonly ChunkRow[]> {
    const disk = this.#disk
    const names = await disk.list(this.#layout.chunks)
    const ids = [...state.chunkReferences.keys(), ...badChunks, ...names.map((name) => chunkIdOf(name) ?? 0)]
    state.shardEpoch = Math.max(state.shardEpoch, ...ids.map((id) => Math.floor(id / 2 ** 32))) + 1
    const directory = this.#staging.chunks
    const rewrite = new ChunkRewrite({
      disk,
      directory,
      clusterId: identity.clusterId,
      chunkId: state.shardEpoch * 2 ** 32,
    })
    for (const { partition, stretches } of rewrites) {
      const [first] = stretches
      if (first === undefined) continue
      const start = 'header' in first ? first.header.baseOffset : first.from
      await rewrite.write(partition, stretches, timeBefore(partition, start))
    }
    await rewrite.finish()
    return rewrite.rows
  }

  async #writeManifest(state: ShardState): Promise<void> {
    const disk = this.#disk
    const store = await LmdbStore.open({ disk, directory: this.#staging.manifest })
    try {
      const manifest = new Manifest(store)
      manifest.load()
      await manifest.flush(allRows(state, replayFromOf(state)))
      await writeSnapshot({ disk, directory: this.#staging.snapshots, store })
    } finally {
      await store.close()
    }
    this.#replace(this.#layout.manifest, this.#staging.manifest)
    // They belong to a history that is no more.
    for (const { path } of await listSnapshots(disk, this.#layout.snapshots))
      this.#setAside(path, 'snapshots')
    for (const { path } of await listSnapshots(disk, this.#staging.snapshots)) {
      this.#move(path, join(this.#layout.snapshots, basename(path)))
    }
  }

  /** A WAL that holds nothing and goes on behind the state. */
  async #writeWal(state: ShardState, identity: WalIdentity): Promise<void> {
    const disk = this.#disk
    const segments = await listSegmentFiles(disk, this.#layout.wal)
    const { sequence, headerCrc } = state.applied
    const number = Math.max(0, ...segments.map((segment) => segment.number)) + 1
    const header = encodeSegmentHeader({
      ...identity,
      number,
      firstSequence: sequence + 1,
      previousCrc: headerCrc,
      provenSequence: sequence,
      bytes: emptySegmentBytes,
      shardEpoch: state.shardEpoch,
      salt: this.#random.uint32(),
    })
    const file = await disk.open(join(this.#staging.wal, segmentFileName(number)), 'create')
    await file.write([header, new Uint8Array(emptySegmentBytes - header.length)], 0)
    await file.sync()
    await file.close()
    await disk.syncDirectory(this.#staging.wal)
  }

  /** Without what an interrupted repair left there before it changed anything. */
  async #makeStaging(): Promise<void> {
    const { root, wal, manifest, chunks, snapshots } = this.#staging
    await rm(root, { recursive: true, force: true })
    for (const directory of [wal, manifest, chunks, snapshots]) await this.#disk.makeDirectory(directory)
  }

  async #copyIdentity(): Promise<void> {
    const { identity } = this.#layout
    if (!(await this.#disk.exists(identity))) return
    const name = `${basename(identity)}.${this.#number}.broken`
    await this.#disk.replaceFile(join(this.#layout.root, name), await this.#disk.readFile(identity))
    this.#broken.push(name)
  }

  #replace(old: string, staged: string): void {
    this.#setAside(old)
    this.#move(staged, old)
  }

  /** Into a directory of broken parts, or under a name of its own beside it. */
  #setAside(path: string, part?: string): void {
    const ending = `${this.#number}.broken`
    const broken =
      part === undefined ? `${basename(path)}.${ending}` : join(`${part}.${ending}`, basename(path))
    this.#broken.push(broken)
    this.#move(path, join(this.#layout.root, broken))
  }

  #move(from: string, to: string): void {
    const { root } = this.#layout
    this.#moves.push([relative(root, from), relative(root, to)])
  }
}

/** The state's rows without those of damaged files, and with the new ones in their places. */
function takeRows(state: ShardState, badChunks: ReadonlySet<number>, added: readonly ChunkRow[]): void {
  const addedTo = new Map<PartitionState, ChunkRow[]>()
  for (const row of added) {
    const partition = state.partition(row.topicId, row.partition) as PartitionState
    addedTo.set(partition, [...(addedTo.get(partition) ?? []), row])
  }
  state.chunkRows = 0
  state.chunkReferences.clear()
  for (const partition of partitionsOf(state)) {
    const good = partition.chunks.filter(({ chunkId }) => !badChunks.has(chunkId))
    // What was written anew may be cut so that its first sections hold nothing that may be read.
    const rows = [...good, ...(addedTo.get(partition) ?? [])]
      .filter(({ section }) => section.endOffset > partition.startOffset)
      .sort((a, b) => a.section.baseOffset - b.section.baseOffset)
    partition.chunks.length = 0
    for (const row of rows) state.addChunk(row)
  }
}

/** Broker time of the newest entry below an offset. */
function timeBefore({ chunks }: PartitionState, offset: number): number {
  const before = chunks.filter(({ section }) => section.endOffset <= offset)
  return Math.max(0, ...before.map(({ section }) => section.maxAppendTime))
}
