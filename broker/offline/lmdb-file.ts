/**
 * Reads the file of an LMDB database without LMDB, which trusts its pages: a damaged one ends the process. No page may
 * have two uses, the free ones included; one without a use is only waste. The layout is that of lmdb 3.5 (liblmdb's data version 2 with page headers of 24
 * bytes), little-endian.
 */
import type { Disk } from '../platform/disk.js'
import { FileWindow } from './file-window.js'
import type { DataFault } from './report.js'

const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
const PAGE = { number: 0, flags: 18, lower: 20, upper: 22, overflowPages: 20, body: 24 } as const
const FLAG = { branch: 1, leaf: 2, overflow: 4, meta: 8 } as const
const META = {
  magic: 24,
  version: 28,
  freeTree: 48,
  mainTree: 96,
  lastPage: 144,
  transaction: 152,
  bytes: 160,
} as const
const TREE = {
  pageBytes: 0,
  depth: 6,
  branches: 8,
  leaves: 16,
  overflows: 24,
  entries: 32,
  root: 40,
} as const
const NODE = { low: 0, high: 2, flags: 4, keyBytes: 6, body: 8 } as const
const VALUE_ON_OVERFLOW_PAGES = 1
/** How an empty tree says that it has no root. */
const NO_PAGE = 2 ** 64

/** A key and its value, and where the value stands. */
export interface LmdbRow {
  readonly key: Uint8Array
  readonly value: Uint8Array
  readonly byteOffset: number
}

/** What is wrong with a database file itself, whatever its rows hold. */
export class LmdbFileFault extends Error {
  override readonly name = 'LmdbFileFault'
  readonly fault: DataFault

  constructor(fault: DataFault) {
    super(`${fault.file} at byte ${fault.byteOffset}: ${fault.reason}`)
    this.fault = fault
  }
}

interface Tree {
  readonly depth: number
  readonly branches: number
  readonly leaves: number
  readonly overflows: number
  readonly entries: number
  readonly root: number
}

interface Meta {
  readonly pageBytes: number
  readonly transaction: number
  readonly lastPage: number
  readonly freeTree: Tree
  readonly mainTree: Tree
}

/** All rows of the database as its last transaction left them. Throws LmdbFileFault; writes nothing. */
export async function readLmdbFile(disk: Disk, path: string): Promise<LmdbRow[]> {
  const window = await FileWindow.open(disk, path)
  try {
    return await new LmdbFile(window).rows()
  } finally {
    await window.close()
  }
}

class LmdbFile {
  readonly #window: FileWindow
  readonly #used = new Set<number>()
  #pageBytes = 4096
  #lastPage = 1

  constructor(window: FileWindow) {
    this.#window = window
  }

  async rows(): Promise<LmdbRow[]> {
    const first = await this.#meta(0)
    this.#pageBytes = first.pageBytes
    const second = await this.#meta(1)
    const meta = second.transaction > first.transaction ? second : first
    if (second.pageBytes !== first.pageBytes)
      this.#fail(this.#pageBytes, 'its two meta pages name different page sizes')
    this.#lastPage = meta.lastPage
    const rows = await this.#tree(meta.mainTree, Buffer.compare)
    const free = await this.#tree(meta.freeTree, (a, b) => u64(dataView(a), 0) - u64(dataView(b), 0))
    for (const row of free) this.#countFree(row)
    return rows
  }

  async #meta(page: number): Promise<Meta> {
    const at = page * this.#pageBytes
    const data = dataView(await this.#window.view(at, META.bytes))
    if (data.byteLength < META.bytes) this.#fail(at, 'the file ends in front of a meta page')
    if (data.getUint32(META.magic, true) !== MAGIC) this.#fail(at, 'this is no LMDB database (magic)')
    if (data.getUint32(META.version, true) !== DATA_VERSION)
      this.#fail(at, 'it has an LMDB version that is not known')
    if (u64(data, PAGE.number) !== page || data.getUint16(PAGE.flags, true) !== FLAG.meta) {
      this.#fail(at, 'a meta page does not say that it is one')
    }
    const pageBytes = data.getUint32(META.freeTree + TREE.pageBytes, true)
    const isPossible = pageBytes >= 512 && pageBytes <= 65536 && Number.isInteger(Math.log2(pageBytes))
    if (!isPossible) this.#fail(at, `its pages cannot have ${pageBytes} bytes`)
    const meta = {
      pageBytes,
      transaction: u64(data, META.transaction),
      lastPage: u64(data, META.lastPage),
      freeTree: treeAt(data, META.freeTree),
      mainTree: treeAt(data, META.mainTree),
    }
    if (!(meta.lastPage < 2 ** 40)) this.#fail(at, `it cannot have ${meta.lastPage} pages`)
    return meta
  }

  async #tree(tree: Tree, compare: (a: Uint8Array, b: Uint8Array) => number): Promise<LmdbRow[]> {
    const rows: LmdbRow[] = []
    const pages = { branches: 0, leaves: 0, overflows: 0 }
    if (tree.root < NO_PAGE) await this.#page(tree.root, tree.depth, pages, rows)
    const isAsCounted =
      rows.length === tree.entries &&
      pages.branches === tree.branches &&
      pages.leaves === tree.leaves &&
      pages.overflows === tree.overflows
    if (!isAsCounted) this.#fail(0, 'a tree has not the pages or rows that its meta page says')
    for (const [index, { key, byteOffset }] of rows.entries()) {
      const before = rows[index - 1]
      if (before !== undefined && compare(before.key, key) >= 0)
        this.#fail(byteOffset, 'its rows are out of order')
    }
    return rows
  }

  async #page(
    number: number,
    depth: number,
    pages: { branches: number; leaves: number; overflows: number },
    rows: LmdbRow[],
  ): Promise<void> {
    const at = number * this.#pageBytes
    const bytes = (await this.#pages(number, 1)).slice()
    const data = dataView(bytes)
    const isLeaf = depth === 1
    if (data.getUint16(PAGE.flags, true) !== (isLeaf ? FLAG.leaf : FLAG.branch)) {
      this.#fail(at, `page ${number} is not of the kind that its place in the tree demands`)
    }
    if (isLeaf) pages.leaves++
    else pages.branches++
    const lower = data.getUint16(PAGE.lower, true)
    if (lower % 2 !== 0 || PAGE.body + lower > bytes.length || lower > data.getUint16(PAGE.upper, true)) {
      this.#fail(at, `page ${number} has an impossible header`)
    }
    for (let i = 0; i < lower / 2; i++) {
      const node = PAGE.body + data.getUint16(PAGE.body + 2 * i, true)
      if (node + NODE.body > bytes.length) this.#fail(at, `page ${number} points past its end`)
      const low = data.getUint16(node + NODE.low, true) + data.getUint16(node + NODE.high, true) * 0x1_0000
      const flags = data.getUint16(node + NODE.flags, true)
      if (!isLeaf) {
        await this.#page(low + flags * 2 ** 32, depth - 1, pages, rows)
        continue
      }
      const keyStart = node + NODE.body
      const valueStart = keyStart + data.getUint16(node + NODE.keyBytes, true)
      const isElsewhere = flags === VALUE_ON_OVERFLOW_PAGES
      if ((flags !== 0 && !isElsewhere) || valueStart + (isElsewhere ? 24 : low) > bytes.length) {
        this.#fail(at + node, `a row of page ${number} goes past its end`)
      }
      const key = bytes.subarray(keyStart, valueStart)
      if (isElsewhere) {
        rows.push({ key, ...(await this.#overflow(u64(data, valueStart), u64(data, valueStart + 16), low)) })
        pages.overflows += u64(data, valueStart + 16)
      } else
        rows.push({ key, value: bytes.subarray(valueStart, valueStart + low), byteOffset: at + valueStart })
    }
  }

  async #overflow(
    number: number,
    count: number,
    length: number,
  ): Promise<{ value: Uint8Array; byteOffset: number }> {
    const bytes = await this.#pages(number, count)
    const at = number * this.#pageBytes
    const data = dataView(bytes)
    const isRight =
      data.getUint16(PAGE.flags, true) === FLAG.overflow && data.getUint32(PAGE.overflowPages, true) === count
    if (!isRight || PAGE.body + length > bytes.length)
      this.#fail(at, `page ${number} does not begin the value that it should`)
    return { value: bytes.slice(PAGE.body, PAGE.body + length), byteOffset: at + PAGE.body }
  }

  /** Pages that are used here and nowhere else. */
  async #pages(number: number, count: number): Promise<Uint8Array> {
    const at = number * this.#pageBytes
    const isInFile = number >= 2 && count >= 1 && number + count - 1 <= this.#lastPage
    if (!isInFile) this.#fail(0, `a tree refers to page ${number}, and the last is ${this.#lastPage}`)
    for (let page = number; page < number + count; page++) this.#use(page)
    const bytes = await this.#window.view(at, count * this.#pageBytes)
    if (bytes.length < count * this.#pageBytes)
      this.#fail(at, `the file ends in front of the end of page ${number}`)
    if (u64(dataView(bytes), PAGE.number) !== number) this.#fail(at, `page ${number} has another number`)
    return bytes
  }

  /** A row of the free list: pages, runs of pages as a negative count before the first, and slots that are empty. */
  #countFree({ value, byteOffset }: LmdbRow): void {
    const data = dataView(value)
    const slots = value.length < 8 ? -1 : u64(data, 0)
    if (slots < 0 || 8 + slots * 8 > value.length) this.#fail(byteOffset, 'a list of free pages is cut short')
    let count = 1
    for (let i = 1; i <= slots; i++) {
      const slot = Number(data.getBigInt64(i * 8, true))
      if (slot <= 0) {
        count = Math.max(1, -slot)
        continue
      }
      if (slot < 2 || slot + count - 1 > this.#lastPage) {
        this.#fail(byteOffset, `page ${slot} is called free, and the last is ${this.#lastPage}`)
      }
      for (let page = slot; page < slot + count; page++) this.#use(page)
      count = 1
    }
  }

  #use(page: number): void {
    if (this.#used.has(page)) this.#fail(page * this.#pageBytes, `page ${page} has two uses`)
    this.#used.add(page)
  }

  #fail(byteOffset: number, reason: string): never {
    throw new LmdbFileFault({ file: this.#window.path, byteOffset, reason })
  }
}

const dataView = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const u64 = (data: DataView, at: number): number =>
  data.getUint32(at, true) + data.getUint32(at + 4, true) * 2 ** 32

const treeAt = (data: DataView, at: number): Tree => ({
  depth: data.getUint16(at + TREE.depth, true),
  branches: u64(data, at + TREE.branches),
  leaves: u64(data, at + TREE.leaves),
  overflows: u64(data, at + TREE.overflows),
  entries: u64(data, at + TREE.entries),
  root: u64(data, at + TREE.root),
})
