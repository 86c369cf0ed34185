import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import type { Clock } from '../../broker/platform/clock.js'
import {
  type Disk,
  DiskError,
  type DiskFile,
  type DiskOperation,
  type OpenMode,
} from '../../broker/platform/disk.js'
import { replaceFile } from '../../broker/platform/replace-file.js'
import { SeededRandom } from './seeded-random.js'
import { SimulatedDirectory, SimulatedNamespace, type SimulatedNode, walk } from './simulated-directory.js'
import { SimulatedFile } from './simulated-file.js'
import { type CrashOdds, SimulatedInode } from './simulated-inode.js'

export interface SimulatedDiskOptions {
  /** The same seed and the same calls give the same disk. */
  readonly seed?: number
  /** Writes past it fail with ENOSPC. Unlimited by default. */
  readonly capacityBytes?: number | undefined
  /** Each operation takes a random time between the two, by this clock. By default it takes a turn of the loop. */
  readonly latency?: { readonly clock: Clock; readonly msMin: number; readonly msMax: number }
  /** Called as each operation begins and ends; may call `crash` or `kill`, and so stop at any point of a run. */
  readonly onOperation?: (event: SimulatedOperation) => void
}

/** `begin`: asked for, and nothing has happened. `end`: done, and the caller has not heard of it. */
export interface SimulatedOperation {
  readonly phase: 'begin' | 'end'
  readonly operation: DiskOperation
  readonly path: string
}

/** An operation that is to fail: the first of this kind, on a path that matches, after `skip` others. */
export interface InjectedFailure {
  readonly operation: DiskOperation
  readonly path?: RegExp
  readonly code: string
  readonly skip?: number
}

/** What an operation does at the call, when it returns, and when it was made to fail. */
interface Steps<T> {
  readonly begin: () => T
  readonly end?: (begun: T) => void
  readonly fail?: () => void
}

/** What a call on a disk that has crashed rejects with. Calls under way at the crash never settle. */
export const crashedCode = 'ECRASHED'

const unlimitedFreeBytes = 2 ** 40

/**
 * A disk in memory that keeps exactly the promises of `Disk`, and at a crash breaks everything it did not promise:
 * - a write not synced, or a durable one that has not returned, is kept, lost, or torn at 512-byte sectors, each
 *   independently of the others; of overlapping ones the later wins;
 * - a create, rename or remove without `syncDirectory` is kept or lost, a rename as a whole;
 * - after a sync that failed, what it covered is never written by a later one, though reads still show it.
 * Before a crash reads see every write. `crash` and `kill` return the disk that the next process finds; this one is
 * dead. Paths are absolute in a tree of its own; "/" exists.
 */
export class SimulatedDisk implements Disk {
  readonly seed: number
  #options: SimulatedDiskOptions
  readonly #random: SeededRandom
  readonly #namespace: SimulatedNamespace
  #failures: { failure: InjectedFailure; skip: number }[] = []
  #dead = false

  constructor(options: SimulatedDiskOptions = {}, namespace = new SimulatedNamespace()) {
    this.seed = options.seed ?? 1
    this.#options = options
    this.#random = new SeededRandom(this.seed)
    this.#namespace = namespace
  }

  // --- What befalls a disk ---

  /** Cuts the power. Without `odds` each crash draws its own, so that "all lost" and "all kept" occur too. */
  crash(odds?: Partial<CrashOdds>): SimulatedDisk {
    const drawn = { keep: this.#random.pick([0, 0.2, 0.5, 0.8, 1]), tear: this.#random.pick([0, 0.3, 0.9]) }
    return this.#afterlife((random) => this.#namespace.crash(random, { ...drawn, ...odds }))
  }

  /**
   * Kills the process with SIGKILL: the page cache survives, so reads of the next process see what a later crash may
   * still take away.
   */
  kill(): SimulatedDisk {
    return this.#afterlife((random) => this.#namespace.kill(random))
  }

  get isDead(): boolean {
    return this.#dead
  }

  /**
   * Makes an operation fail. A failed `sync`, or `write` to a durable file, leaves its bytes to reads and never brings
   * them to disk; a failed write may have written a part.
   */
  failNext(failure: InjectedFailure): void {
    this.#failures.push({ failure, skip: failure.skip ?? 0 })
  }

  /** From now on so many bytes are left, and writes past them fail with ENOSPC; undefined: as many as are wanted. */
  limitFree(freeBytes: number | undefined): void {
    const capacityBytes = freeBytes === undefined ? undefined : this.#usedBytes() + freeBytes
    this.#options = { ...this.#options, capacityBytes }
  }

  /** Damages a byte of a file, on disk and in the page cache. */
  flipBit(path: string, offset: number, bit = 0): void {
    this.inode(path, 'read').flipBit(offset, bit)
  }

  /** A bit of a file comes back wrong from now on, until its byte is written again or `mend` is called. */
  rot(path: string, offset: number, bit: number): void {
    this.inode(path, 'read').rot(offset, bit)
  }

  /** What rotted reads right again, and what was to fail works. */
  mend(): void {
    this.#failures = []
    for (const view of ['cached', 'durable'] as const) {
      for (const [, node] of walk(this.#namespace.root, view)) if (node.kind === 'file') node.mend()
    }
  }

  /** Every file there is, by path. `settledBytes`: below it nothing is of the last four writes. */
  files(): { path: string; bytes: number; settledBytes: number }[] {
    return [...walk(this.#namespace.root, 'cached')].flatMap(([path, node]) =>
      node.kind === 'file' ? [{ path, bytes: node.cached.size, settledBytes: node.settledBytes }] : [],
    )
  }

  /** Paths of the files, and names of the directory entries, that a crash could still change. */
  unsynced(): string[] {
    const files = [...walk(this.#namespace.root, 'cached')].filter(
      ([, node]) => node.kind === 'file' && node.hasUnsynced,
    )
    return [...files.map(([path]) => path), ...this.#namespace.unsynced]
  }

  /** Writes the tree into a real directory, for a look at it: as reads see it, or only what is on disk. */
  async dump(directory: string, view: 'cached' | 'durable' = 'cached'): Promise<void> {
    for (const [path, node] of walk(this.#namespace.root, view)) {
      const target = join(directory, path)
      await mkdir(node.kind === 'directory' ? target : dirname(target), { recursive: true })
      if (node.kind === 'file') await writeFile(target, node[view].toBytes())
    }
  }

  /** A disk that holds, durably, what stands in a real directory. */
  static async load(directory: string, options: SimulatedDiskOptions = {}): Promise<SimulatedDisk> {
    const namespace = new SimulatedNamespace()
    const fill = async (into: SimulatedDirectory, from: string): Promise<void> => {
      for (const entry of await readdir(from, { withFileTypes: true })) {
        const path = join(from, entry.name)
        const node = entry.isDirectory() ? new SimulatedDirectory() : new SimulatedInode(await readFile(path))
        into.cached.set(entry.name, node)
        into.durable.set(entry.name, node)
        if (node.kind === 'directory') await fill(node, path)
      }
    }
    await fill(namespace.root, directory)
    return new SimulatedDisk(options, namespace)
  }

  // --- Disk ---

  open(path: string, mode: OpenMode): Promise<DiskFile> {
    return this.perform('open', path, {
      begin: () => {
        if (mode !== 'create' && mode !== 'createDirect')
          return new SimulatedFile(this, path, this.inode(path, 'open'), mode)
        const { directory, name } = this.#entry(path, 'open')
        if (directory.cached.has(name)) throw new DiskError({ code: 'EEXIST', path, operation: 'open' })
        const inode = new SimulatedInode()
        this.#namespace.apply([{ directory, name, node: inode }])
        return new SimulatedFile(this, path, inode, mode)
      },
    })
  }

  list(directory: string): Promise<string[]> {
    return this.perform('list', directory, {
      begin: () => {
        const node = this.#node(directory)
        if (node?.kind === 'file')
          throw new DiskError({ code: 'ENOTDIR', path: directory, operation: 'list' })
        return [...(node?.cached.keys() ?? [])].sort()
      },
    })
  }

  async makeDirectory(path: string): Promise<void> {
    const parts = partsOf(path)
    for (let depth = 1; depth <= parts.length; depth++) {
      const made = `/${parts.slice(0, depth).join('/')}`
      const isNew = await this.perform('makeDirectory', made, { begin: () => this.#makeOne(made) })
      if (isNew || depth === parts.length) await this.syncDirectory(posix.dirname(made))
    }
  }

  rename(from: string, to: string): Promise<void> {
    return this.perform('rename', from, {
      begin: () => {
        const source = this.#entry(from, 'rename')
        const target = this.#entry(to, 'rename')
        const node = source.directory.cached.get(source.name)
        if (!node) throw new DiskError({ code: 'ENOENT', path: from, operation: 'rename' })
        const replaced = target.directory.cached.get(target.name)
        if (replaced === node) return
        if (replaced?.kind === 'directory')
          throw new DiskError({ code: 'EISDIR', path: to, operation: 'rename' })
        this.#namespace.apply([
          { ...source, node: undefined },
          { ...target, node },
        ])
      },
    })
  }

  remove(path: string): Promise<void> {
    return this.perform('remove', path, {
      begin: () => {
        const node = this.#node(path)
        if (!node) return
        if (node.kind === 'directory') throw new DiskError({ code: 'EISDIR', path, operation: 'remove' })
        this.#namespace.apply([{ ...this.#entry(path, 'remove'), node: undefined }])
      },
    })
  }

  async syncDirectory(path: string): Promise<void> {
    await this.perform('syncDirectory', path, {
      begin: () => this.#namespace.sync(this.#directory(path, 'syncDirectory')),
      end: (sync) => sync.complete(),
    })
  }

  exists(path: string): Promise<boolean> {
    return this.perform('exists', path, { begin: () => this.#node(path) !== undefined })
  }

  readFile(path: string): Promise<Uint8Array> {
    return this.perform('readFile', path, { begin: () => this.inode(path, 'readFile').toBytes() })
  }

  replaceFile(path: string, bytes: Uint8Array): Promise<void> {
    return replaceFile(this, path, bytes)
  }

  freeBytes(path: string): Promise<number> {
    return this.perform('freeBytes', path, {
      begin: () => {
        if (!this.#node(path)) throw new DiskError({ code: 'ENOENT', path, operation: 'freeBytes' })
        return this.free()
      },
    })
  }

  // --- For SimulatedFile ---

  /** Runs an operation, unless a failure was injected. A disk that dies in the middle of it never answers. */
  async perform<T>(operation: DiskOperation, path: string, steps: Steps<T>): Promise<T> {
    if (this.#dead) throw new DiskError({ code: crashedCode, path, operation })
    this.#options.onOperation?.({ phase: 'begin', operation, path })
    if (this.#dead) return never()
    const code = this.#takeFailure(operation, path)
    if (code !== undefined) {
      await this.#pause()
      if (this.#dead) return never()
      steps.fail?.()
      throw new DiskError({ code, path, operation })
    }
    const begun = steps.begin()
    await this.#pause()
    if (this.#dead) return never()
    steps.end?.(begun)
    this.#options.onOperation?.({ phase: 'end', operation, path })
    return this.#dead ? never() : begun
  }

  inode(path: string, operation: DiskOperation): SimulatedInode {
    const node = this.#node(path)
    if (node?.kind === 'file') return node
    throw new DiskError({ code: node ? 'EISDIR' : 'ENOENT', path, operation })
  }

  /** Bytes that can still be written, as allocated pages. */
  free(): number {
    const { capacityBytes } = this.#options
    if (capacityBytes === undefined) return unlimitedFreeBytes
    return Math.max(0, capacityBytes - this.#usedBytes())
  }

  /** How much of a write that fails is carried out all the same. */
  partOf(bytes: number): number {
    return this.#random.below(bytes + 1)
  }

  #usedBytes(): number {
    let used = 0
    for (const [, node] of walk(this.#namespace.root, 'cached')) {
      if (node.kind === 'file') used += node.cached.allocatedBytes
    }
    return used
  }

  #afterlife(strike: (random: SeededRandom) => void): SimulatedDisk {
    if (this.#dead) throw new Error('this disk has crashed already: go on with the one that crash() returned')
    this.#dead = true
    strike(this.#random)
    return new SimulatedDisk({ ...this.#options, seed: this.#random.uint32() }, this.#namespace)
  }

  #takeFailure(operation: DiskOperation, path: string): string | undefined {
    const matching = this.#failures.filter(
      ({ failure }) => failure.operation === operation && (failure.path?.test(path) ?? true),
    )
    const due = matching.find((armed) => armed.skip-- <= 0)
    this.#failures = this.#failures.filter((armed) => armed !== due)
    return due?.failure.code
  }

  #pause(): Promise<void> {
    const { latency } = this.#options
    if (!latency) return new Promise((resolve) => setImmediate(resolve))
    const ms = latency.msMin + this.#random.fraction() * (latency.msMax - latency.msMin)
    return new Promise((resolve) => void latency.clock.setTimer(resolve, ms))
  }

  #makeOne(path: string): boolean {
    const { directory, name } = this.#entry(path, 'makeDirectory')
    const there = directory.cached.get(name)
    if (there?.kind === 'file') throw new DiskError({ code: 'EEXIST', path, operation: 'makeDirectory' })
    if (!there) this.#namespace.apply([{ directory, name, node: new SimulatedDirectory() }])
    return !there
  }

  #node(path: string): SimulatedNode | undefined {
    return this.#namespace.lookup(partsOf(path))
  }

  #directory(path: string, operation: DiskOperation): SimulatedDirectory {
    const node = this.#node(path)
    if (node?.kind === 'directory') return node
    throw new DiskError({ code: node ? 'ENOTDIR' : 'ENOENT', path, operation })
  }

  #entry(path: string, operation: DiskOperation): { directory: SimulatedDirectory; name: string } {
    const parts = partsOf(path)
    const name = parts.at(-1)
    if (name === undefined) throw new DiskError({ code: 'EINVAL', path, operation })
    return { directory: this.#directory(posix.dirname(`/${parts.join('/')}`), operation), name }
  }
}

function partsOf(path: string): string[] {
  return posix.resolve('/', path).split('/').filter(Boolean)
}

function never<T>(): Promise<T> {
  return new Promise(() => {})
}
