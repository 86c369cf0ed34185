/**
 * A look at LMDB's data file before LMDB opens it. LMDB trusts its pages: a page number that is off, or a file that
 * was cut short, would kill the process. Layout of LMDB data version 2, on a little-endian 64-bit machine.
 */
import { type Disk, DiskError, type DiskFile } from '../platform/disk.js'
import { ManifestCorruption } from './corruption.js'
import { LmdbPages } from './lmdb-pages.js'

const PAGE_HEADER_BYTES = 24
const META_BYTES = 144
const DATABASE_BYTES = 48
const NODE_HEADER_BYTES = 8
const POINTER_BYTES = 2
const OVERFLOW_REFERENCE_BYTES = 24
const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
const META_PAGES = 2

const PAGE = { number: 0, transaction: 8, flags: 18, lower: 20, upper: 22, overflowPages: 20 } as const
const META = { magic: 24, version: 28, free: 48, main: 96, lastPage: 144, transaction: 152 } as const
const DATABASE = {
  pageBytes: 0,
  depth: 6,
  branches: 8,
  leaves: 16,
  overflows: 24,
  entries: 32,
  root: 40,
} as const
const FLAG = { branch: 1, leaf: 2, overflow: 4, meta: 8 } as const
const NODE_IS_BIG = 1
const NO_PAGE = 0xffff_ffff_ffff_ffffn

interface Database {
  readonly depth: number
  readonly branches: number
  readonly leaves: number
  readonly overflows: number
  readonly entries: number
  /** Undefined when it is empty. */
  readonly root: number | undefined
}

/** A key, where it stands: there are too many to make an object of each. */
interface Key {
  readonly page: Buffer
  readonly start: number
  readonly end: number
}

type Compare = (a: Key, b: Key) => number

/** How the keys of a tree are made, and who wants its nodes. */
interface TreeKind {
  readonly name: string
  readonly compare: Compare
  /** Of each key, where all have the same. */
  readonly keyBytes?: number
  /** Is given the key and the value of each node. */
  readonly visit?: (key: Key, value: Buffer) => void
}

/** A page that a branch names, and between which keys its own must be. */
interface Child {
  readonly number: number
  readonly from: Key | undefined
  readonly to: Key | undefined
}

/**
 * Throws ManifestCorruption when the B-trees in the file do not hold together: each page stands in its place, once,
 * inside the file, with its nodes in order; no page in use is listed as free. Values are not looked at: rows carry
 * their own CRC. A missing or empty file is no fault here: LMDB makes a new one.
 */
export async function checkLmdbFile(disk: Disk, path: string): Promise<void> {
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (error instanceof DiskError && error.code === 'ENOENT') return
    throw error
  }
  try {
    const bytes = await file.size()
    if (bytes > 0) await new LmdbFileCheck(file, bytes).run()
  } finally {
    await file.close()
  }
}

class LmdbFileCheck {
  readonly #file: DiskFile
  readonly #fileBytes: number
  #pageBytes = 0
  #pageCount = 0
  #transaction = 0
  /** Page number to whether it has been met. */
  #met = new Uint8Array()
  #found = { branches: 0, leaves: 0, overflows: 0, entries: 0 }

  constructor(file: DiskFile, fileBytes: number) {
    this.#file = file
    this.#fileBytes = fileBytes
  }

  async run(): Promise<void> {
    const meta = await this.#newestMeta()
    this.#pageCount = uint(meta, META.lastPage) + 1
    this.#transaction = uint(meta, META.transaction)
    if (!(this.#pageCount >= META_PAGES && this.#pageCount < 2 ** 32))
      this.#fail(0, 'the number of pages is impossible')
    this.#met = new Uint8Array(this.#pageCount)
    this.#met.fill(1, 0, META_PAGES)
    const free: Buffer[] = []
    await this.#tree(databaseAt(meta, META.main), { name: 'main', compare: compareBytes })
    await this.#tree(databaseAt(meta, META.free), {
      name: 'free',
      compare: compareNumbers,
      keyBytes: 8,
      visit: (_key, value) => free.push(value),
    })
    for (const list of free) this.#freePages(list)
  }

  async #newestMeta(): Promise<Buffer> {
    const first = await this.#bytes(0, PAGE_HEADER_BYTES + META_BYTES)
    this.#pageBytes = first.readUInt32LE(META.free + DATABASE.pageBytes)
    if (!isPageSize(this.#pageBytes)) this.#fail(0, 'the page size is impossible')
    const metas = [first, await this.#bytes(this.#pageBytes, PAGE_HEADER_BYTES + META_BYTES)]
    for (const [page, meta] of metas.entries()) {
      if (meta.readUInt32LE(META.magic) !== MAGIC) this.#fail(page, 'this is no LMDB meta page (magic)')
      if (meta.readUInt32LE(META.version) !== DATA_VERSION)
        this.#fail(page, 'the LMDB data version is not known')
      if (meta.readUInt16LE(PAGE.flags) !== FLAG.meta) this.#fail(page, 'this is no LMDB meta page (flags)')
      if (
        meta.readUInt32LE(META.free + DATABASE.pageBytes) !== this.#pageBytes &&
        uint(meta, META.transaction) > 0
      ) {
        this.#fail(page, 'the meta pages do not agree on the page size')
      }
    }
    const [even, odd] = metas.map((meta) => uint(meta, META.transaction)) as [number, number]
    // Each commit writes the meta page of its parity, and the other one holds the commit before.
    if (Math.abs(even - odd) > 1 || even % 2 !== 0 || (odd % 2 === 0 && odd !== 0)) {
      this.#fail(0, `the meta pages hold the transactions ${even} and ${odd}`)
    }
    return metas[odd > even ? 1 : 0] as Buffer
  }

  /** Level by level, each in the order of the file: a tree's pages are all over it. */
  async #tree(database: Database, kind: TreeKind): Promise<void> {
    this.#found = { branches: 0, leaves: 0, overflows: 0, entries: 0 }
    const { root, depth } = database
    if (root === undefined && depth !== 0) this.#fail(0, `the ${kind.name} tree has a depth but no root`)
    const pages = new LmdbPages(this.#file, { fileBytes: this.#fileBytes, pageBytes: this.#pageBytes })
    try {
      let level: Child[] = root === undefined ? [] : [{ number: root, from: undefined, to: undefined }]
      for (let left = depth; level.length > 0; left--) {
        level.sort((a, b) => a.number - b.number)
        const below: Child[] = []
        for (const child of level) {
          this.#meet(child.number)
          const page = await pages.at(child.number)
          if (page.length < this.#pageBytes) this.#fail(child.number, 'the file is cut short before it')
          if (left === 1) await this.#leaf(child, page, kind)
          else this.#branch(child, page, kind, below)
        }
        level = below
      }
    } finally {
      await pages.settled()
    }
    for (const each of ['branches', 'leaves', 'overflows', 'entries'] as const) {
      if (this.#found[each] === database[each]) continue
      const said = `its meta page says ${database[each]}`
      this.#fail(0, `the ${kind.name} tree has ${this.#found[each]} ${each}, ${said}`)
    }
  }

  #branch({ number, from, to }: Child, read: Buffer, kind: TreeKind, below: Child[]): void {
    // Its keys are held until the level below is checked; what they were read with is not.
    const page = Buffer.from(read)
    const nodes = this.#nodes(number, page, false)
    this.#found.branches++
    // The first key stands for everything before the second one.
    let key = from
    for (const [i, at] of nodes.entries()) {
      const next = i + 1 < nodes.length ? this.#key(number, page, nodes[i + 1] as number, kind) : to
      if (next && key && kind.compare(key, next) >= 0) this.#fail(number, 'its keys are out of order')
      below.push({ number: childOf(page, at), from: key, to: next })
      key = next
    }
  }

  async #leaf({ number, from, to }: Child, page: Buffer, kind: TreeKind): Promise<void> {
    const nodes = this.#nodes(number, page, true)
    this.#found.leaves++
    this.#found.entries += nodes.length
    let key = this.#key(number, page, nodes[0] as number, kind)
    if (from && kind.compare(key, from) < 0) this.#fail(number, 'its keys are out of order')
    for (let i = 0; i < nodes.length; i++) {
      const at = nodes[i] as number
      const next = i + 1 < nodes.length ? this.#key(number, page, nodes[i + 1] as number, kind) : undefined
      const before = next ?? to
      if (before && kind.compare(key, before) >= 0) this.#fail(number, 'its keys are out of order')
      const large = isBig(page, at) ? await this.#large(page, at) : undefined
      kind.visit?.(key, large ?? smallValueOf(page, at))
      if (next !== undefined) key = next
    }
  }

  #key(number: number, page: Buffer, at: number, { keyBytes }: TreeKind): Key {
    const key = keyOf(page, at)
    if (keyBytes !== undefined && key.end - key.start !== keyBytes)
      this.#fail(number, 'a key has the wrong length')
    return key
  }

  /** Where the nodes of a page begin. */
  #nodes(number: number, page: Buffer, isLeaf: boolean): number[] {
    if (uint(page, PAGE.number) !== number) this.#fail(number, 'another page stands in its place')
    if (uint(page, PAGE.transaction) > this.#transaction)
      this.#fail(number, 'it is newer than the newest meta page')
    if (page.readUInt16LE(PAGE.flags) !== (isLeaf ? FLAG.leaf : FLAG.branch))
      this.#fail(number, 'it has the wrong type')
    // Both bounds and the pointers count from the end of the page header.
    const lower = PAGE_HEADER_BYTES + page.readUInt16LE(PAGE.lower)
    const upper = PAGE_HEADER_BYTES + page.readUInt16LE(PAGE.upper)
    const count = (lower - PAGE_HEADER_BYTES) / POINTER_BYTES
    if (!Number.isInteger(count) || count < (isLeaf ? 1 : 2) || lower > upper || upper > page.length) {
      this.#fail(number, 'its bounds are impossible')
    }
    const nodes: number[] = []
    let used = 0
    for (let i = 0; i < count; i++) {
      const at = PAGE_HEADER_BYTES + page.readUInt16LE(PAGE_HEADER_BYTES + i * POINTER_BYTES)
      const size =
        at >= upper && at + NODE_HEADER_BYTES <= page.length ? nodeBytes(page, at, isLeaf) : Infinity
      if (at + size > page.length) this.#fail(number, 'a node goes past its page')
      nodes.push(at)
      used += size + (size % 2)
    }
    if (used !== page.length - upper) this.#fail(number, 'its nodes do not fill their place')
    return nodes
  }

  /** The value of a leaf's node that has pages of its own. */
  async #large(leaf: Buffer, at: number): Promise<Buffer> {
    const { end } = keyOf(leaf, at)
    const page = uint(leaf, end)
    const pages = uint(leaf, end + 16)
    const bytes = leaf.readUInt32LE(at)
    // A value that shrank in place keeps its pages.
    if (pages < Math.floor((PAGE_HEADER_BYTES - 1 + bytes) / this.#pageBytes) + 1) {
      this.#fail(page, 'a large value has too few pages')
    }
    for (let each = page; each < page + pages; each++) this.#meet(each)
    const whole = await this.#bytes(
      page * this.#pageBytes,
      Math.max(PAGE_HEADER_BYTES + bytes, this.#pageBytes),
    )
    const isFirst = uint(whole, PAGE.number) === page && whole.readUInt32LE(PAGE.overflowPages) === pages
    if (!isFirst || whole.readUInt16LE(PAGE.flags) !== FLAG.overflow) {
      this.#fail(page, 'it is not the first page of a large value')
    }
    this.#found.overflows += pages
    return whole.subarray(PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + bytes)
  }

  /**
   * A list of free pages: its length, then page numbers, or a negative length and the first page of a run; 0 is an
   * empty place. A page in use that is listed as free would be overwritten by some later commit.
   */
  #freePages(list: Buffer): void {
    const length = list.length >= 8 ? Number(list.readBigInt64LE(0)) : -1
    if (length < 0 || (length + 1) * 8 > list.length)
      this.#fail(0, 'a list of free pages has an impossible length')
    for (let i = 1; i <= length; i++) {
      const entry = Number(list.readBigInt64LE(i * 8))
      if (entry === 0) continue
      // A run whose first page would stand behind the end of the list: LMDB leaves it out too.
      if (entry < 0 && i === length) return
      const first = entry < 0 ? Number(list.readBigInt64LE(++i * 8)) : entry
      const pages = entry < 0 ? -entry : 1
      if (first < META_PAGES || first + pages > this.#pageCount)
        this.#fail(0, 'the free list names a page that is not there')
      for (let page = first; page < first + pages; page++) {
        if (this.#met[page]) this.#fail(page, 'it is in use and on the free list, or twice on it')
        this.#met[page] = 1
      }
    }
  }

  #meet(page: number): void {
    if (!(page >= META_PAGES && page < this.#pageCount))
      this.#fail(0, `a node points to page ${page}, which is not there`)
    if (this.#met[page]) this.#fail(page, 'two nodes point to it')
    this.#met[page] = 1
  }

  async #bytes(position: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    if ((await this.#file.read(bytes, position)) < length) this.#fail(0, 'the file is cut short')
    return bytes
  }

  #fail(page: number, reason: string): never {
    throw new ManifestCorruption({ keyspace: this.#file.path, key: `page ${page}`, reason })
  }
}

/** Numbers past 2^53 come out inexact, which is enough to find them too large. */
const uint = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at))

const compareNumbers: Compare = (a, b) => uint(a.page, a.start) - uint(b.page, b.start)

/** Byte by byte, the shorter one first. */
function compareBytes(a: Key, b: Key): number {
  const length = Math.min(a.end - a.start, b.end - b.start)
  for (let i = 0; i < length; i++) {
    const difference = (a.page[a.start + i] as number) - (b.page[b.start + i] as number)
    if (difference !== 0) return difference
  }
  return a.end - a.start - (b.end - b.start)
}

const isPageSize = (bytes: number): boolean => bytes >= 512 && bytes <= 65_536 && (bytes & (bytes - 1)) === 0

function databaseAt(meta: Buffer, at: number): Database {
  const bytes = meta.subarray(at, at + DATABASE_BYTES)
  const root = bytes.readBigUInt64LE(DATABASE.root)
  return {
    depth: bytes.readUInt16LE(DATABASE.depth),
    branches: uint(bytes, DATABASE.branches),
    leaves: uint(bytes, DATABASE.leaves),
    overflows: uint(bytes, DATABASE.overflows),
    entries: uint(bytes, DATABASE.entries),
    root: root === NO_PAGE ? undefined : Number(root),
  }
}

function nodeBytes(page: Buffer, at: number, isLeaf: boolean): number {
  const keyBytes = page.readUInt16LE(at + 6)
  if (!isLeaf) return NODE_HEADER_BYTES + keyBytes
  const flags = page.readUInt16LE(at + 4)
  const dataBytes = flags === NODE_IS_BIG ? OVERFLOW_REFERENCE_BYTES : page.readUInt32LE(at)
  // No other flag occurs: there are no databases within and no duplicates.
  return flags === 0 || flags === NODE_IS_BIG
    ? NODE_HEADER_BYTES + keyBytes + dataBytes
    : Number.POSITIVE_INFINITY
}

function keyOf(page: Buffer, at: number): Key {
  const start = at + NODE_HEADER_BYTES
  return { page, start, end: start + page.readUInt16LE(at + 6) }
}

const childOf = (page: Buffer, at: number): number =>
  page.readUInt32LE(at) + page.readUInt16LE(at + 4) * 2 ** 32

const isBig = (page: Buffer, at: number): boolean => page.readUInt16LE(at + 4) === NODE_IS_BIG

function smallValueOf(page: Buffer, at: number): Buffer {
  const { end } = keyOf(page, at)
  return page.subarray(end, end + page.readUInt32LE(at))
}
