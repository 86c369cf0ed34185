import type { SeededRandom } from './seeded-random.js'
import type { CrashOdds, SimulatedInode } from './simulated-inode.js'

export type SimulatedNode = SimulatedInode | SimulatedDirectory

/** A directory's entries twice, as the running system and as the disk have them. */
export class SimulatedDirectory {
  readonly kind = 'directory'
  readonly cached = new Map<string, SimulatedNode>()
  readonly durable = new Map<string, SimulatedNode>()
}

/** One entry put (or, without a node, taken out). */
export interface Entry {
  readonly directory: SimulatedDirectory
  readonly name: string
  readonly node: SimulatedNode | undefined
}

/** Entries that change together or not at all: a rename has two. */
type Change = readonly Entry[]

/**
 * All directories of a disk and the changes to them that are not on disk. Like a journal, it keeps changes whole and
 * keeps the order of changes to one name; changes to different names may reach the disk in any order.
 */
export class SimulatedNamespace {
  readonly root = new SimulatedDirectory()
  #pending: Change[] = []

  get unsynced(): readonly string[] {
    return this.#pending.flatMap((change) => change.map(({ name }) => name))
  }

  lookup(parts: readonly string[]): SimulatedNode | undefined {
    let node: SimulatedNode | undefined = this.root
    for (const part of parts) node = node?.kind === 'directory' ? node.cached.get(part) : undefined
    return node
  }

  apply(change: Change): void {
    for (const { directory, name, node } of change) put(directory.cached, name, node)
    this.#pending.push(change)
  }

  /** Begins a directory sync: it covers the changes made by now, and those they build on. */
  sync(directory: SimulatedDirectory): { complete(): void } {
    const covered = new Set(
      this.#pending.filter((change) => change.some((entry) => entry.directory === directory)),
    )
    for (const change of [...this.#pending].reverse()) {
      if (!covered.has(change)) continue
      for (const earlier of this.#beneath(change)) covered.add(earlier)
    }
    return {
      complete: () => {
        for (const change of this.#pending) if (covered.has(change)) makeDurable(change)
        this.#pending = this.#pending.filter((change) => !covered.has(change))
      },
    }
  }

  /** The power fails: what was not synced is kept or lost, and every file goes through the same. */
  crash(random: SeededRandom, odds: CrashOdds): void {
    const lost = new Set<Change>()
    for (const change of this.#pending) {
      const possible = !this.#beneath(change).some((earlier) => lost.has(earlier))
      if (possible && random.chance(odds.keep)) makeDurable(change)
      else lost.add(change)
    }
    this.#pending = []
    for (const [, node] of walk(this.root, 'durable')) {
      if (node.kind === 'file') node.crash(random, odds)
      else reset(node)
    }
    reset(this.root)
  }

  /** The process is killed: names stay as they are, and what was not synced still is not. */
  kill(random: SeededRandom): void {
    const files = new Set<SimulatedInode>()
    for (const view of ['cached', 'durable'] as const) {
      for (const [, node] of walk(this.root, view)) if (node.kind === 'file') files.add(node)
    }
    for (const file of files) file.kill(random)
  }

  /** Earlier changes, not on disk, to a name that this one changes. */
  #beneath(change: Change): Change[] {
    const before = this.#pending.slice(0, this.#pending.indexOf(change))
    return before.filter((earlier) => earlier.some((entry) => change.some((other) => sameName(entry, other))))
  }
}

/** Every path below a directory, parents first and names sorted. */
export function* walk(
  directory: SimulatedDirectory,
  view: 'cached' | 'durable',
  prefix = '',
): Generator<[path: string, node: SimulatedNode]> {
  for (const [name, node] of [...directory[view]].sort(([a], [b]) => (a < b ? -1 : 1))) {
    yield [`${prefix}/${name}`, node]
    if (node.kind === 'directory') yield* walk(node, view, `${prefix}/${name}`)
  }
}

function sameName(a: Entry, b: Entry): boolean {
  return a.directory === b.directory && a.name === b.name
}

function makeDurable(change: Change): void {
  for (const { directory, name, node } of change) put(directory.durable, name, node)
}

function put(entries: Map<string, SimulatedNode>, name: string, node: SimulatedNode | undefined): void {
  if (node) entries.set(name, node)
  else entries.delete(name)
}

function reset(directory: SimulatedDirectory): void {
  directory.cached.clear()
  for (const [name, node] of directory.durable) directory.cached.set(name, node)
}
