import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LmdbStore } from '../../broker/manifest/lmdb-store.js'
import type { StoreEntry } from '../../broker/manifest/store.js'
import type { VerifyReport } from '../../broker/offline/report.js'
import { examine } from '../../broker/offline/verify.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { layoutOf } from '../../broker/shard/layout.js'
import { alignUp, GROUP_HEADER_BYTES } from '../../broker/wal/group.js'
import { type ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import { groupsOf } from '../support/damage.js'
import { ForkableDisk } from '../support/forkable-disk.js'
import { MortalClock } from '../support/mortal-clock.js'
import { SeededRandom } from '../support/seeded-random.js'
import { SimulatedStore } from '../support/simulated-store.js'
import {
  type Contents,
  contentsOf,
  smallDataDirectory,
  TINY_LIMITS,
} from '../support/small-data-directory.js'
import { openTestShard } from '../support/test-shard.js'

/**
 * Every byte with MILLRACE_LONG=1; else all headers, after one kind of stop, and of the rest a sample that the seed
 * chooses.
 */
const isLong = process.env.MILLRACE_LONG === '1'
const seed = Number(process.env.MILLRACE_SEED ?? 1)
const sampledPerPart = 24
/** A start costs several times a verification: each so-many-th byte that is not sampled is tried on one. */
const startEvery = 24

const limits = { ...TINY_LIMITS, walSegmentBytes: 32 * 1024, chunkBytes: 1500, snapshotEveryBytes: 16 * 1024 }
const layout = layoutOf('/')
const manifestFile = '/manifest/data.mdb'

/**
 * What a byte is for.
 * - `needed`: damage to it is corruption, named with its file.
 * - `tail`: of the last group of the WAL, which nothing proves.
 * - `unused`: nothing reads it.
 * - `text`: of a small file without a checksum; a few of its bytes are white space.
 */
type Use = 'needed' | 'tail' | 'unused' | 'text'

interface Range {
  readonly start: number
  readonly end: number
  readonly isHeader?: boolean
  readonly isFilling?: boolean
}

interface Target extends Range {
  readonly part: string
  readonly file: string
  readonly use: Use
  readonly isHeader: boolean
  /** Zeros, or what was left there. */
  readonly isFilling: boolean
  /** Of the manifest: the row whose value it is. */
  readonly row?: number
}

/** A data directory in memory, of which copies are damaged one byte at a time. */
class Subject {
  readonly targets: Target[] = []
  readonly #disk: ForkableDisk
  readonly #rows: readonly StoreEntry[]
  readonly #contents: Contents
  #stateHash: string | undefined

  private constructor(disk: ForkableDisk, rows: readonly StoreEntry[], contents: Contents) {
    this.#disk = disk
    this.#rows = rows
    this.#contents = contents
  }

  static async make(stop: 'clean' | 'killed'): Promise<Subject> {
    const made = await smallDataDirectory({ stop, limits, rounds: 4 })
    const store = await LmdbStore.open({ disk: nodeDisk, directory: `${made.directory}/manifest` })
    const rows = [...store.entries()].map(
      ([key, value]) => [new Uint8Array(key), new Uint8Array(value)] as const,
    )
    await store.close()
    const subject = new Subject(await ForkableDisk.load(made.directory), rows, made.contents)
    await made.remove()
    await subject.#findTargets(stop)
    const report = await subject.#verify(subject.#disk.fork(), rows)
    if (report.status !== 'clean')
      throw new Error(`the directory is not clean to begin with: ${JSON.stringify(report.faults)}`)
    subject.#stateHash = report.stateHash
    return subject
  }

  async #findTargets(stop: 'clean' | 'killed'): Promise<void> {
    const add = (part: string, file: string, use: Use, ranges: Range[]): void => {
      for (const range of ranges)
        this.targets.push({ part, file, use, isHeader: false, isFilling: false, ...range })
    }
    const groups = await groupsOf('/', this.#disk)
    for (const file of this.#disk.paths) {
      const length = this.#disk.bytesOf(file).length
      if (file.startsWith('/wal/spare-'))
        add('spare WAL segment', file, 'unused', [{ start: 0, end: length, isFilling: true }])
      else if (file.startsWith('/wal/')) {
        add('WAL segment header', file, 'needed', [
          { start: 0, end: 96, isHeader: true },
          { start: 96, end: 4096, isFilling: true },
        ])
        let end = 4096
        for (const { file: path, position, header, rows } of groups) {
          if (path !== file) continue
          const use =
            stop === 'killed' && header.sequence === groups.at(-1)?.header.sequence ? 'tail' : 'needed'
          const directoryEnd = position + GROUP_HEADER_BYTES + 64 * rows.length
          end = position + alignUp(header.bytes)
          add(use === 'tail' ? 'last WAL group' : 'WAL group', file, use, [
            { start: position, end: directoryEnd, isHeader: true },
            { start: directoryEnd, end: position + header.bytes },
            { start: position + header.bytes, end, isFilling: true },
          ])
        }
        add('rest of a WAL segment', file, 'unused', [{ start: end, end: length, isFilling: true }])
      } else if (file.startsWith('/chunks/') || file.startsWith('/snapshots/')) {
        const part = file.startsWith('/chunks/') ? 'chunk' : 'snapshot'
        add(part, file, 'needed', [
          { start: 0, end: 64, isHeader: true },
          { start: 64, end: length - 168 },
          { start: length - 168, end: length, isHeader: true },
        ])
      } else if (file.endsWith('.json'))
        add(file.slice(1), file, 'text', [{ start: 0, end: length, isHeader: true }])
    }
    for (const [row, [, value]] of this.#rows.entries()) {
      const range = { start: 0, end: value.length, isHeader: true, isFilling: false }
      this.targets.push({ part: 'manifest value', file: manifestFile, use: 'needed', row, ...range })
    }
  }

  /** Damages one byte; returns what is wrong with what verify and a start make of it. */
  async fault(
    target: Target,
    offset: number,
    options: { mask: number; start: boolean },
  ): Promise<string | undefined> {
    const disk = this.#disk.fork()
    let rows = this.#rows
    if (target.row === undefined) disk.flip(target.file, offset, options.mask)
    else {
      rows = rows.map(([key, value], index) => {
        const copy = new Uint8Array(value)
        if (index === target.row) copy[offset] = (copy[offset] as number) ^ options.mask
        return [key, copy]
      })
    }
    const report = await this.#verify(disk, rows)
    const wrong = this.#misjudged(target, report)
    if (wrong !== undefined) return `verify: ${wrong} ${JSON.stringify(report.faults)}`
    if (!options.start && report.status !== 'clean') return undefined
    const started = await this.#start(disk, rows)
    return started === undefined ? undefined : this.#disagreement(report, started)
  }

  #verify(disk: ForkableDisk, rows: readonly StoreEntry[]): Promise<VerifyReport> {
    const readRows = async () => rows.map((entry) => ({ entry, byteOffset: 0 }))
    return examine({ disk, layout, readRows }).then(({ report }) => report)
  }

  #misjudged(
    { use, file }: Target,
    { status, faults, tornTail, stateHash }: VerifyReport,
  ): string | undefined {
    const isNamed = faults.length > 0 && faults.every((fault) => fault.file === file)
    const isUnchanged = status === 'clean' && stateHash === this.#stateHash
    if (use === 'needed')
      return status === 'corrupt' && isNamed ? undefined : `${status}, and the file is not named`
    if (use === 'tail')
      return status === 'tornTail' && tornTail?.file === file ? undefined : `${status}, not a torn tail`
    if (use === 'unused') return isUnchanged ? undefined : `${status}, though nothing reads this byte`
    return isUnchanged || isNamed ? undefined : `${status}, and the file is not named`
  }

  /** What a broker would serve; an error code where it refuses to start. */
  async #start(disk: ForkableDisk, rows: readonly StoreEntry[]): Promise<Contents | ErrorCode> {
    const clock = new MortalClock()
    const store = new SimulatedStore().altered(() => rows.map(([key, value]) => [key, value]))
    try {
      const shard = await openTestShard({
        directory: '/',
        disk,
        store,
        clock,
        limits,
        random: new SeededRandom(9),
      })
      return await contentsOf(shard)
    } catch (error) {
      if (error instanceof MillraceError) return error.code
      throw error
    } finally {
      clock.die()
    }
  }

  #disagreement({ status }: VerifyReport, started: Contents | ErrorCode): string | undefined {
    if (typeof started !== 'string') {
      return isDeepStrictEqual(started, this.#contents)
        ? undefined
        : `verify says ${status}, and a broker serves other data`
    }
    // A chunk is read when it is asked for: then it is the read that is refused.
    const isRefusal = started === 'CORRUPT_DATA' || started === 'UNSUPPORTED_VERSION'
    return status === 'corrupt' && isRefusal
      ? undefined
      : `verify says ${status}, and a broker answers ${started}`
  }
}

/** Tries bytes of one part; returns how many, and the first few that were misjudged. */
async function tryPart(
  subject: Subject,
  part: string,
  { allHeaders }: { allHeaders: boolean },
): Promise<{ tried: number; misjudged: string[] }> {
  const random = new SeededRandom(seed)
  const targets = subject.targets.filter((target) => target.part === part)
  const isWhole = (target: Target): boolean =>
    isLong || target.use === 'text' || (target.isHeader && allHeaders)
  const bytes = targets.reduce((sum, target) => sum + (isWhole(target) ? 0 : target.end - target.start), 0)
  const misjudged: string[] = []
  let tried = 0
  for (const target of targets) {
    for (let offset = target.start; offset < target.end; offset++) {
      const mask = 1 << random.below(8)
      const isSampled = random.chance(sampledPerPart / bytes)
      if (!isWhole(target) && !isSampled) continue
      const start = isSampled || tried % startEvery === 0 || (isLong && !target.isFilling)
      tried++
      const fault = await subject.fault(target, offset, { mask, start })
      const row = target.row === undefined ? '' : ` row ${target.row}`
      if (fault !== undefined) misjudged.push(`${target.file}${row} byte ${offset} ^ ${mask}: ${fault}`)
      if (misjudged.length > 5) return { tried, misjudged }
    }
  }
  return { tried, misjudged }
}

const parts = [
  'WAL segment header',
  'WAL group',
  'last WAL group',
  'rest of a WAL segment',
  'spare WAL segment',
  'chunk',
  'snapshot',
  'manifest value',
  'identity.json',
  'clean-stop.json',
]

describe.each(['clean', 'killed'] as const)('one byte changed after a %s stop', (stop) => {
  let subject: Subject
  const counts: Record<string, number> = {}

  beforeAll(async () => {
    subject = await Subject.make(stop)
  })

  afterAll(() => {
    if (isLong) console.log(`bytes tried after a ${stop} stop:`, counts)
  })

  const there = parts.filter((part) =>
    stop === 'clean' ? part !== 'last WAL group' : part !== 'clean-stop.json',
  )
  test.each(there)(
    'of a %s is named, or changes nothing, and a start agrees',
    async (part) => {
      const { tried, misjudged } = await tryPart(subject, part, { allHeaders: stop === 'killed' })
      expect(misjudged).toEqual([])
      expect(tried).toBeGreaterThan(0)
      counts[part] = tried
    },
    isLong ? 3_600_000 : 30_000,
  )
})
