import { dirname, join } from 'node:path'
import type { Disk } from '../platform/disk.js'
import { DATA_FORMAT, type Layout, writeIdentity } from '../shard/layout.js'
import type { WalIdentity } from '../wal/position.js'

/** Renames below a data directory, in their order; both names are relative to it. */
export type Moves = readonly (readonly [from: string, to: string])[]

/** What a repair that has begun still has to do. */
export interface Journal {
  readonly identity: WalIdentity
  readonly moves: Moves
}

/**
 * Exchanges old parts of a data directory for new ones. A crash in the middle loses nothing: identity.json holds the
 * list meanwhile, in a form that no start accepts, and the next repair takes it up.
 */
export async function carryOut(disk: Disk, layout: Layout, { identity, moves }: Journal): Promise<void> {
  const journal = { format: DATA_FORMAT, repair: { identity, moves } }
  await disk.replaceFile(layout.identity, Buffer.from(`${JSON.stringify(journal)}\n`))
  for (const [from, to] of moves) {
    const source = join(layout.root, from)
    const target = join(layout.root, to)
    // Done before the crash, if the target is there.
    if (!(await disk.exists(source)) || (await disk.exists(target))) continue
    await disk.makeDirectory(dirname(target))
    await disk.rename(source, target)
    await disk.syncDirectory(dirname(target))
    await disk.syncDirectory(dirname(source))
  }
  await writeIdentity(disk, layout, identity)
}

/** The journal of a repair that was interrupted; undefined when there is none. */
export async function readJournal(disk: Disk, layout: Layout): Promise<Journal | undefined> {
  if (!(await disk.exists(layout.identity))) return undefined
  const text = Buffer.from(await disk.readFile(layout.identity)).toString('utf8')
  try {
    const { repair } = JSON.parse(text) as { repair?: Journal }
    const isWhole = Array.isArray(repair?.moves) && typeof repair.identity?.walId === 'string'
    return isWhole ? repair : undefined
  } catch {
    return undefined
  }
}

/** A number that no earlier repair gave its copies. */
export async function nextBroken(disk: Disk, { root }: Layout): Promise<number> {
  const numbers = (await disk.list(root)).map((name) => Number(/\.(\d+)\.broken$/.exec(name)?.[1] ?? 0))
  return Math.max(0, ...numbers) + 1
}
