import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { StoreEntry } from '../../broker/manifest/store.js'
import type { VerifyReport } from '../../broker/offline/report.js'
import { examine } from '../../broker/offline/verify.js'
import { ArmedFailpoints } from '../../broker/platform/failpoints.js'
import { layoutOf } from '../../broker/shard/layout.js'
import type { Shard } from '../../broker/shard/shard.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { memberIdFrom, type TopicId } from '../../protocol/ids.js'
import { ForkableDisk } from '../support/forkable-disk.js'
import { ManualClock } from '../support/manual-clock.js'
import { MortalClock } from '../support/mortal-clock.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedDisk } from '../support/simulated-disk.js'
import { SimulatedStore } from '../support/simulated-store.js'
import { type Contents, contentsOf, TINY_LIMITS } from '../support/small-data-directory.js'
import { append, createTopic, openTestShard, someRequestId, textBatch } from '../support/test-shard.js'

const limits = { ...TINY_LIMITS, walSegmentBytes: 32 * 1024, chunkBytes: 1500, snapshotEveryBytes: 16 * 1024 }
const alice = memberIdFrom('a'.repeat(32))

/** What a start made of a directory. */
export type Started =
  | { readonly code: string; readonly message: string }
  /** `undecodable`: an entry whose checksums are right holds something else than its header says. */
  | { readonly contents: Contents | 'CORRUPT_DATA' | 'undecodable'; readonly cause?: unknown }

/** A small data directory with something of everything in it, of which copies are changed and started. */
export class RecoverySubject {
  readonly contents: Contents
  readonly rows: readonly StoreEntry[]
  readonly #disk: ForkableDisk
  /** Of the state that a start has with the manifest, and without it. */
  readonly #stateHashes = new Map<boolean, string | undefined>()
  #walGroups = 0

  private constructor(disk: ForkableDisk, rows: readonly StoreEntry[], contents: Contents) {
    this.#disk = disk
    this.rows = rows
    this.contents = contents
  }

  /**
   * The same in every run, so that a recipe means the same too. `noSnapshots`: the WAL holds everything from its first
   * group on, and needs no manifest.
   */
  static async make({
    stop,
    noSnapshots,
  }: {
    stop: 'clean' | 'killed'
    noSnapshots: boolean
  }): Promise<RecoverySubject> {
    const failpoints = new ArmedFailpoints()
    if (noSnapshots) {
      const refuse = () => Promise.reject(new Error('no snapshots'))
      failpoints.arm('snapshotBeforeRename', refuse, { andAfter: true })
    }
    const [simulated, store, clock] = [new SimulatedDisk(), new SimulatedStore(), new ManualClock()]
    const random = new SeededRandom(7)
    const shard = await openTestShard({
      directory: '/',
      disk: simulated,
      store,
      clock,
      random,
      limits,
      failpoints,
    })
    await fill(shard, clock)
    const contents = await contentsOf(shard)
    let left = simulated
    if (stop === 'clean') await shard.close()
    else left = simulated.kill()
    const rows = [...(stop === 'clean' ? store : store.crash()).entries()]
    const directory = await mkdtemp(join(tmpdir(), 'millrace-recovery-'))
    await left.dump(directory)
    const subject = new RecoverySubject(await ForkableDisk.load(directory), rows, contents)
    await rm(directory, { recursive: true })
    const { verified, started } = await subject.look(subject.fork(), rows)
    if (
      verified.status !== 'clean' ||
      !('contents' in started) ||
      !isDeepStrictEqual(started.contents, contents)
    )
      throw new Error(
        `the directory is not sound to begin with: ${verified.status} ${JSON.stringify(verified.faults)}`,
      )
    subject.#walGroups = verified.counts.walGroups
    subject.#stateHashes.set(true, verified.stateHash)
    if (noSnapshots) {
      const { verified: anew } = await subject.look(subject.fork(), [])
      subject.#stateHashes.set(false, anew.stateHash)
    }
    return subject
  }

  fork(): ForkableDisk {
    return this.#disk.fork()
  }

  /**
   * Verifies, starts, and reads everything. Throws when anything but a documented refusal comes of it, when a start that
   * refuses has changed the directory, or when the verification sees nothing wrong in what a start refuses.
   */
  async look(
    disk: ForkableDisk,
    rows: readonly StoreEntry[],
  ): Promise<{ verified: VerifyReport; started: Started }> {
    const layout = layoutOf('/')
    const readRows = async () => rows.map((entry) => ({ entry, byteOffset: 0 }))
    const { report: verified } = await examine({ disk: disk.fork(), layout, readRows })
    const mine = disk.fork()
    const started = await this.#start(mine, rows)
    const isSound = verified.status !== 'corrupt'
    if (!('contents' in started)) {
      const changed = changedFiles(disk, mine)
      if (changed.length > 0)
        throw new Error(`a start refused with ${started.message}, and changed ${changed}`)
      if (isSound) throw new Error(`verify says ${verified.status}, and a start refuses: ${started.message}`)
    } else if (isSound && started.contents === 'CORRUPT_DATA')
      throw new Error(`verify says ${verified.status}, and a read is refused`, started)
    return { verified, started }
  }

  /** Whether a start serves what was acknowledged, and has every cursor, lease and producer besides. */
  isUnchanged(
    { started, verified }: { started: Started; verified: VerifyReport },
    { withManifest }: { withManifest: boolean },
  ): boolean {
    const isSame = 'contents' in started && isDeepStrictEqual(started.contents, this.contents)
    // The last group has no commands and proves the one before. Where it never got to the disk, only its time is not there.
    const isUnproven = verified.counts.walGroups === this.#walGroups - 1
    const isSameState = isUnproven || verified.stateHash === this.#stateHashes.get(withManifest)
    // Where there is damage elsewhere, in a snapshot or an old segment, the state may not have been looked at.
    return isSame && (verified.status !== 'clean' || isSameState)
  }

  async #start(disk: ForkableDisk, rows: readonly StoreEntry[]): Promise<Started> {
    const clock = new MortalClock()
    const store = new SimulatedStore().altered(() => rows.map(([key, value]) => [key, value]))
    let shard: Shard
    try {
      const random = new SeededRandom(9)
      shard = await openTestShard({ directory: '/', disk, store, clock, limits, random })
    } catch (error) {
      clock.die()
      return refusalOf(error)
    }
    try {
      return { contents: await contentsOf(shard) }
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'CORRUPT_DATA')
        return { contents: 'CORRUPT_DATA', cause: error }
      if (error instanceof MillraceError && error.code === 'BAD_BATCH') return { contents: 'undecodable' }
      throw error
    } finally {
      clock.die()
    }
  }
}

function changedFiles(before: ForkableDisk, after: ForkableDisk): string[] {
  const paths = new Set([...before.paths, ...after.paths])
  const bytesOn = (disk: ForkableDisk, path: string): Buffer | undefined =>
    disk.paths.includes(path) ? Buffer.from(disk.bytesOf(path)) : undefined
  return [...paths].filter((path) => !isDeepStrictEqual(bytesOn(before, path), bytesOn(after, path)))
}

function refusalOf(error: unknown): { code: string; message: string } {
  if (error instanceof MillraceError && ['CORRUPT_DATA', 'UNSUPPORTED_VERSION'].includes(error.code))
    return { code: error.code, message: error.message }
  throw error
}

/** Three topics, two producers, chunks, segments, and something in every other keyspace. */
async function fill(shard: Shard, clock: ManualClock): Promise<void> {
  const orders = await createTopic(shard, 'orders', 2)
  const clicks = await createTopic(shard, 'clicks', 1)
  const gone = await createTopic(shard, 'gone', 1)
  const audit = await createTopic(shard, 'audit', 1)
  await append(shard, textBatch(['x'], { topicId: gone }))
  const producer = await shard.initProducer({ requestId: someRequestId(), name: 'shop-1' })
  for (let round = 0; round < 8; round++) {
    const values = [0, 1, 2].map((i) => `${round} ${i} ${'.'.repeat(120)}`)
    for (const partition of [0, 1])
      await append(
        shard,
        textBatch(values, { topicId: orders, partition, ...producer, baseSequence: round * 3 }),
      )
    await append(shard, textBatch(values, { topicId: clicks }))
    if (round % 4 === 0) await append(shard, textBatch(values, { topicId: audit }))
    await clock.advanceAndSettle(20)
  }
  await shard.deleteTopic({ requestId: someRequestId(), name: 'gone' })
  await useGroups(shard)
  // The last group is proven, and what is due is sealed and flushed.
  for (let i = 0; i < 30; i++) await clock.advanceAndSettle(100)
}

/** A cursor, a queue with leases, a dead letter, dedup ids and options: something in every keyspace. */
async function useGroups(shard: Shard): Promise<void> {
  const { groups } = shard
  const topicId = shard.topicNamed('orders')?.topicId as TopicId
  const at = { topicId, partition: 0 }
  const group = { name: 'billing', kind: 'consumer' as const, queue: null, requestId: null }
  const { groupId } = await groups.createGroup(group)
  const { epoch } = await groups.assign(groupId, [{ ...at, memberId: alice, ifNoCursor: 'earliest' }])
  await groups.ack(groupId, [{ memberId: alice, epoch, ...at, offset: 2 }])
  const queue = { leaseMs: 30_000, maxDeliveries: 5 }
  const workers = await groups.createGroup({ ...group, name: 'mail', kind: 'queue', queue })
  await groups.queue({ groupId: workers.groupId, ...at, ifNoCursor: 'earliest' }, (_, time) => {
    const claims = [{ leaseId: 1, memberId: alice, deadline: time + 30_000, ranges: [{ from: 0, to: 4 }] }]
    const lists = { claims, acked: [{ from: 1, to: 2 }], returned: [], extended: [], reason: 0 as const }
    return { move: { floor0: 0, frontier: 4, nextLeaseId: 2, ...lists }, result: undefined }
  })
  const dead = await createTopic(shard, 'orders.billing.dlq')
  const ack = { groupId, memberId: alice, epoch, ...at, offset: 3 }
  await groups.deadLetter({ requestId: someRequestId(), ack, letter: textBatch(['dead'], { topicId: dead }) })
  const hashes = new SeededRandom(4).bytes(32)
  await append(shard, textBatch(['one', 'two'], { topicId, dedupIds: { bitmap: Uint8Array.of(3), hashes } }))
  await shard.deleteBefore({ requestId: someRequestId(), ...at, offset: 1 })
}
