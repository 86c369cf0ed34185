import { join } from 'node:path'
import { MillraceError } from '../../protocol/error-codes.js'
import { chunkFileName, chunkIdOf } from '../chunks/format.js'
import { Manifest } from '../manifest/manifest.js'
import { withPages } from '../manifest/page-file.js'
import type { Store } from '../manifest/store.js'
import type { Disk } from '../platform/disk.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import type { Random } from '../platform/random.js'
import { WalCorruption } from '../wal/corruption.js'
import type { WalIdentity } from '../wal/position.js'
import { type ScannedGroup, type ScanResult, scanWal, type TornTail } from '../wal/scan.js'
import { segmentFileName } from '../wal/segment.js'
import { Wal, type WalOptions } from '../wal/wal.js'
import {
  type Layout,
  newIdentity,
  readCleanStop,
  readIdentity,
  removeCleanStop,
  writeIdentity,
} from './layout.js'
import { missingEntries, replayGroup } from './replay.js'
import { ShardState } from './state.js'

export interface RecoverOptions {
  readonly disk: Disk
  readonly layout: Layout
  readonly random: Random
  readonly store: Store
  readonly walOptions: Omit<WalOptions, 'identity' | 'shardEpoch' | 'directory' | 'disk' | 'random'>
}

/** What a start found. */
export interface RecoveryReport {
  readonly isNew: boolean
  readonly wasCleanStop: boolean
  readonly groupsReplayed: number
  readonly tornTail: TornTail | undefined
  readonly chunksSwept: number
}

export interface Recovered {
  readonly state: ShardState
  readonly manifest: Manifest
  readonly wal: Wal
  readonly report: RecoveryReport
}

/**
 * Brings a data directory to the point where it may be written to. Throws MillraceError CORRUPT_DATA, and changes
 * nothing, when anything acknowledged is damaged or missing.
 */
export async function recover(options: RecoverOptions): Promise<Recovered> {
  const { disk, layout } = options
  // There may be many: they are listed while the manifest is read.
  const chunkFiles = disk.list(layout.chunks)
  // Told where it is awaited, unless something else is wrong before.
  chunkFiles.catch(() => {})
  const manifest = new Manifest(options.store)
  const contents = manifest.load()
  const identity = await readIdentity(disk, layout)
  if (identity === undefined) return await createNew(options, manifest, contents.shard !== undefined)

  const { planted } = options.walOptions.failpoints
  const replayed = await replay({ disk, layout, identity, contents, planted })
  const { state, scan } = replayed
  const strays = strayChunks(await chunkFiles, layout, state)
  await removeCleanStop(disk, layout)
  if (scan.tornTail !== undefined) await keepBroken(disk, scan.tornTail)
  if (scan.tornTail !== undefined && planted === 'tornTailHangsStart') await new Promise(() => {})

  const walOptions = walOptionsOf(options, identity, state.shardEpoch + 1)
  const end = scan.end ?? replayed.noWal()
  let wal: Wal
  if (replayed.wasCleanStop && scan.unused.length === 0)
    wal = await Wal.continueAt(walOptions, scan.segments, end)
  else {
    const numberMin = Math.max(0, ...scan.unused.map(({ number }) => number)) + 1
    const afresh = await Wal.continueAfresh(walOptions, { ...scan, end, numberMin })
    wal = afresh.wal
    if (afresh.rewritten !== undefined && scan.lastGroup !== undefined)
      relocate(state, scan.lastGroup, afresh.rewritten)
    // Only now: the group that ends a segment says that a next one exists.
    await removeAll(
      disk,
      layout.wal,
      scan.unused.map(({ number }) => segmentFileName(number)),
    )
  }
  state.applied = wal.end
  // Only now: until the copy was written, a power cut could have taken back the group that let go of these files.
  await removeAll(disk, layout.chunks, strays)
  state.unreferencedChunks.length = 0
  return {
    state,
    manifest,
    wal,
    report: {
      isNew: false,
      wasCleanStop: replayed.wasCleanStop,
      groupsReplayed: replayed.groups,
      tornTail: scan.tornTail,
      chunksSwept: strays.length,
    },
  }
}

/** Reads manifest and WAL into a state and checks that together they hold everything. Writes nothing. */
export async function replay(options: {
  disk: Disk
  layout: Layout
  identity: WalIdentity
  contents: ReturnType<Manifest['load']>
  /** Look at all of every segment that is read, as a start does not. */
  isThorough?: boolean
  planted?: PlantedFault | undefined
}): Promise<{
  state: ShardState
  scan: ScanResult
  wasCleanStop: boolean
  groups: number
  noWal: () => never
}> {
  const { disk, layout, identity, contents, isThorough, planted } = options
  const { shard } = contents
  if (shard !== undefined && (shard.clusterId !== identity.clusterId || shard.walId !== identity.walId)) {
    throw corrupt(layout.manifest, 'the manifest belongs to another data directory')
  }
  const state = new ShardState(identity)
  const { contents: whole, slots } = await withPages(contents, { disk, path: layout.dedupPages })
  state.load(whole)
  const used = contents.dedupPages.flatMap(({ slot }) => slot ?? [])
  state.dedup.slots.load({ count: slots, used, sequence: shard?.applied.sequence ?? 0 })
  const cleanStop = await readCleanStop(disk, layout)
  let groups = 0
  const scan = await scanWal({
    disk,
    directory: layout.wal,
    identity,
    from: shard?.replayFrom ?? 1,
    isThorough,
    planted,
    cleanEnd: cleanStop,
    visit: (group) => {
      groups++
      replayGroup(state, group, planted)
    },
  })
  const noWal = (): never => {
    throw corrupt(layout.wal, 'the WAL has no segment')
  }
  const { end } = scan
  if (end === undefined) return noWal()
  const oldest = scan.segments[0]
  const needed = shard?.replayFrom ?? 1
  if (oldest !== undefined && oldest.firstSequence > needed) {
    throw corrupt(
      layout.wal,
      `the WAL begins with group ${oldest.firstSequence}, and group ${needed} is needed`,
    )
  }
  if (end.sequence < state.applied.sequence) {
    throw new WalCorruption({
      file: join(layout.wal, segmentFileName(end.segment.number)),
      byteOffset: end.position,
      reason: `the WAL ends with group ${end.sequence}, and the manifest holds the effects of group ${state.applied.sequence}`,
    })
  }
  if (
    cleanStop !== undefined &&
    (cleanStop.sequence !== end.sequence || cleanStop.headerCrc !== end.headerCrc)
  ) {
    throw new WalCorruption({
      file: join(layout.wal, segmentFileName(end.segment.number)),
      byteOffset: end.position,
      reason: `the WAL ends with group ${end.sequence}, and the last clean stop was after group ${cleanStop.sequence}`,
    })
  }
  state.applied = { sequence: end.sequence, headerCrc: end.headerCrc }
  for (const topic of state.topics.values()) {
    for (const partition of topic.partitions) {
      const missing = missingEntries(partition)
      if (missing !== undefined) throw corrupt(layout.wal, missing)
    }
  }
  return { state, scan, wasCleanStop: cleanStop !== undefined, groups, noWal }
}

/** A first start: the identity is written last, so an interrupted one begins again. */
async function createNew(
  options: RecoverOptions,
  manifest: Manifest,
  hasManifest: boolean,
): Promise<Recovered> {
  const { disk, layout, random } = options
  const segments = (await disk.list(layout.wal)).filter((name) => /^[0-9a-f]{16}\.wal$/.test(name))
  if (hasManifest || segments.length > 1) {
    throw corrupt(layout.identity, 'the file is missing, and the directory holds the data of a broker')
  }
  const identity = newIdentity(random)
  // What an interrupted first start left: nothing was acknowledged before the identity was there.
  for (const name of segments) await disk.remove(join(layout.wal, name))
  await disk.makeDirectory(layout.chunks)
  await disk.makeDirectory(layout.snapshots)
  const wal = await Wal.createFirst(walOptionsOf(options, identity, 1))
  await writeIdentity(disk, layout, identity)
  const report = { isNew: true, wasCleanStop: true, groupsReplayed: 0, tornTail: undefined, chunksSwept: 0 }
  return { state: new ShardState(identity), manifest, wal, report }
}

const walOptionsOf = (options: RecoverOptions, identity: WalIdentity, shardEpoch: number): WalOptions => ({
  ...options.walOptions,
  disk: options.disk,
  random: options.random,
  directory: options.layout.wal,
  identity,
  shardEpoch,
})

/** Files among the chunks that nothing refers to; throws when one is missing that something does. */
function strayChunks(names: readonly string[], layout: Layout, { chunkReferences }: ShardState): string[] {
  const strays = names.filter((name) => !chunkReferences.has(chunkIdOf(name) ?? Number.NaN))
  if (names.length - strays.length === chunkReferences.size) return strays
  const present = new Set(names)
  for (const chunkId of chunkReferences.keys()) {
    if (present.has(chunkFileName(chunkId))) continue
    throw corrupt(join(layout.chunks, chunkFileName(chunkId)), 'the file is missing, and records are in it')
  }
  return strays
}

async function removeAll(disk: Disk, directory: string, names: readonly string[]): Promise<void> {
  for (const name of names) await disk.remove(join(directory, name))
  if (names.length > 0) await disk.syncDirectory(directory)
}

/** Keeps a copy of what is cut, for people to look at. */
async function keepBroken(disk: Disk, torn: TornTail): Promise<void> {
  const file = await disk.open(torn.file, 'read')
  const bytes = new Uint8Array(torn.bytes)
  const read = await file.read(bytes, torn.byteOffset)
  await file.close()
  await disk.replaceFile(`${torn.file}.${torn.byteOffset}.broken`, bytes.subarray(0, read))
}

/** The last group stands in the fresh segment now; its first copy goes with the old one. */
function relocate(state: ShardState, group: ScannedGroup, to: { segment: number; position: number }): void {
  for (const row of group.rows) {
    const partition = state.partition(row.topicId, row.partition)
    const entry = partition?.tail.at(partition.tail.indexOf(row.baseOffset))
    if (entry === undefined || entry.sequence !== group.header.sequence) continue
    entry.segment = to.segment
    entry.position = to.position + row.byteStart
  }
}

const corrupt = (file: string, reason: string): MillraceError =>
  new MillraceError('CORRUPT_DATA', {
    message: `the data directory is damaged: ${file}: ${reason}`,
    details: { file, byteOffset: 0, reason },
  })
