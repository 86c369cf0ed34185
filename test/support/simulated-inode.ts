import type { SeededRandom } from './seeded-random.js'
import { pageBytes, SparseBytes } from './sparse-bytes.js'

const LAST_WRITES = 4

/** What a disk writes whole or not at all. */
export const sectorBytes = 512

/**
 * How likely a crash keeps what was not synced, and tears a write rather than taking it whole. `keep` of 0 loses all
 * of it, and of 1 nothing, torn or not.
 */
export interface CrashOdds {
  readonly keep: number
  readonly tear: number
}

interface Range {
  readonly position: number
  readonly bytes: Uint8Array
}

/** A write that is in the page cache and not proven to be on disk. */
interface PendingWrite {
  readonly kind: 'write'
  readonly order: number
  /** What is left of it: later durable writes cut out what they cover. */
  ranges: Range[]
  /** The file's size right after it. */
  sizeAfter: number
  /** The call has not returned. */
  inFlight: boolean
  /** An fsync that covered it failed: the kernel dropped it, and no later sync will write it. */
  abandoned: boolean
}

interface PendingResize {
  readonly kind: 'resize'
  readonly order: number
  sizeAfter: number
}

type Pending = PendingWrite | PendingResize

/** A write whose call has been made and not yet answered. */
export interface WriteInFlight {
  /** The call returns: the bytes are in the page cache, with `durable` on disk. */
  complete(options: { durable: boolean }): void
  /** The call fails: a part is in the page cache, and with `durable` nothing will bring it to disk. */
  fail(options: { durable: boolean }): void
}

/**
 * A file's content twice, as the page cache and as the disk have it, and the changes between the two. Writes reach
 * the disk in any order, whole, in part or not at all; of overlapping ones the later wins. Size changes are metadata
 * and reach the disk in their order, as in a journal.
 */
export class SimulatedInode {
  readonly kind = 'file'
  #cached: SparseBytes
  readonly #durable: SparseBytes
  #pending: Pending[] = []
  #order = 0
  /** The change up to which the disk's size is right. */
  #sizeOrder = 0
  /** Bits that come back wrong, by offset: laid over what is read, so that they can be put right again. */
  readonly #rot = new Map<number, number>()
  /** Where the last writes began. */
  #lastWrites: number[] = []

  constructor(content?: Uint8Array) {
    this.#durable = new SparseBytes()
    if (content) this.#durable.write(content, 0)
    this.#cached = new SparseBytes(this.#durable)
  }

  get cached(): Readonly<Pick<SparseBytes, 'size' | 'allocatedBytes' | 'growth' | 'toBytes'>> {
    return this.#cached
  }

  get durable(): Readonly<Pick<SparseBytes, 'size' | 'toBytes'>> {
    return this.#durable
  }

  get hasUnsynced(): boolean {
    return this.#pending.length > 0
  }

  /** What a reader gets: the page cache, with the bits that rotted. */
  read(buffer: Uint8Array, position: number): number {
    const count = this.#cached.read(buffer, position)
    for (const [offset, bits] of this.#rot) {
      const at = offset - position
      if (at >= 0 && at < count) buffer[at] = (buffer[at] as number) ^ bits
    }
    return count
  }

  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.#cached.size)
    this.read(bytes, 0)
    return bytes
  }

  /** Below it is nothing that the last four writes brought: what a log has gone past. */
  get settledBytes(): number {
    return this.#lastWrites.length < LAST_WRITES ? 0 : Math.min(...this.#lastWrites)
  }

  /** A bit of a byte comes back wrong, until the byte is written again or `mend` is called. */
  rot(offset: number, bit: number): void {
    if (offset >= this.#cached.size) throw new RangeError(`byte ${offset} is past the end`)
    this.#rot.set(offset, (this.#rot.get(offset) ?? 0) ^ (1 << bit))
  }

  mend(): void {
    this.#rot.clear()
  }

  #renew(from: number, to: number): void {
    for (const offset of this.#rot.keys()) if (offset >= from && offset < to) this.#rot.delete(offset)
  }

  write(bytes: Uint8Array, position: number): WriteInFlight {
    this.#cached.write(bytes, position)
    this.#renew(position, position + bytes.byteLength)
    this.#lastWrites = [position, ...this.#lastWrites.slice(0, LAST_WRITES - 1)]
    const pending: PendingWrite = {
      kind: 'write',
      order: ++this.#order,
      ranges: bytes.byteLength > 0 ? [{ position, bytes }] : [],
      sizeAfter: this.#cached.size,
      inFlight: true,
      abandoned: false,
    }
    this.#pending.push(pending)
    return {
      complete: ({ durable }) => {
        pending.inFlight = false
        if (durable) this.#makeDurable((other) => other === pending, this.#sizesNeededBy(pending))
      },
      fail: ({ durable }) => {
        pending.inFlight = false
        pending.abandoned = durable
      },
    }
  }

  resize(size: number): void {
    this.#cached.resize(size)
    this.#renew(size, Number.POSITIVE_INFINITY)
    this.#pending.push({ kind: 'resize', order: ++this.#order, sizeAfter: size })
  }

  /** Begins a sync: it covers the writes that have returned by now. */
  sync(): { complete(): void; fail(): void } {
    const upTo = this.#order
    const covered = new Set<PendingWrite>()
    for (const pending of this.#pending) {
      if (pending.kind === 'write' && !pending.inFlight && !pending.abandoned) covered.add(pending)
    }
    return {
      complete: () => this.#makeDurable((pending) => covered.has(pending) && !pending.abandoned, upTo),
      fail: () => {
        for (const pending of covered) pending.abandoned = true
      },
    }
  }

  flipBit(offset: number, bit: number): void {
    if (offset >= this.#cached.size) throw new RangeError(`byte ${offset} is past the end`)
    for (const content of [this.#cached, this.#durable]) {
      if (offset >= content.size) continue
      const byte = new Uint8Array(1)
      content.read(byte, offset)
      byte[0] = (byte[0] ?? 0) ^ (1 << bit)
      content.write(byte, offset)
    }
    for (const { position, bytes } of this.#pending.flatMap(rangesOf)) {
      const at = offset - position
      const byte = bytes[at]
      if (byte !== undefined) bytes[at] = byte ^ (1 << bit)
    }
  }

  /** The power fails: each pending change is kept, lost or torn, and the page cache is gone. */
  crash(random: SeededRandom, odds: CrashOdds): void {
    const journalled = this.#journalled(random, odds)
    let size = this.#durable.size
    /** Past a truncation that was lost, later writes had blocks that nothing points to. */
    let reachable = Number.POSITIVE_INFINITY
    this.#pending.forEach((pending, index) => {
      const kept = index < journalled
      if (kept && pending.order > this.#sizeOrder) size = pending.sizeAfter
      if (pending.kind === 'write') {
        for (const range of survivors(pending, random, odds)) {
          this.#durable.write(
            range.bytes.subarray(0, Math.max(0, reachable - range.position)),
            range.position,
          )
        }
      } else if (kept) this.#durable.resize(pending.sizeAfter)
      else reachable = Math.min(reachable, pending.sizeAfter)
    })
    this.#durable.resize(size)
    this.#pending = []
    this.#sizeOrder = this.#order
    this.#cached = new SparseBytes(this.#durable)
  }

  /** The process is killed: the page cache stays, and with it everything that is not durable yet. */
  kill(random: SeededRandom): void {
    this.#cached = new SparseBytes(this.#durable)
    const started = this.#pending.filter((pending) => pending.kind === 'resize' || cutShort(pending, random))
    for (const pending of started) {
      if (pending.kind === 'resize') this.#cached.resize(pending.sizeAfter)
      for (const { position, bytes } of rangesOf(pending)) this.#cached.write(bytes, position)
      pending.sizeAfter = this.#cached.size
    }
    this.#pending = started
  }

  /** How many of the pending changes have their size on disk: a prefix, because a journal keeps its order. */
  #journalled(random: SeededRandom, odds: CrashOdds): number {
    if (odds.keep === 0) return 0
    if (odds.keep === 1) return this.#pending.length
    return random.below(this.#pending.length + 1)
  }

  /** A durable write commits the journal only if it must: to reach its bytes through a size or a truncation. */
  #sizesNeededBy(write: PendingWrite): number {
    const grows = write.ranges.some(({ position, bytes }) => position + bytes.byteLength > this.#durable.size)
    const follows = this.#pending.some((other) => other.kind === 'resize' && other.order < write.order)
    return grows || follows ? write.order : 0
  }

  #makeDurable(isDurable: (pending: PendingWrite) => boolean, sizesUpTo: number): void {
    const left: Pending[] = []
    for (const pending of this.#pending) {
      if (pending.kind === 'resize' && pending.order <= sizesUpTo) {
        this.#durable.resize(pending.sizeAfter)
        for (const earlier of left) cutOut(earlier, pending.sizeAfter, Number.POSITIVE_INFINITY)
      } else if (pending.kind === 'write' && isDurable(pending)) {
        for (const { position, bytes } of pending.ranges) {
          this.#durable.write(bytes, position)
          for (const earlier of left) cutOut(earlier, position, position + bytes.byteLength)
        }
      } else left.push(pending)
    }
    const last = this.#pending.findLast((pending) => pending.order <= sizesUpTo)
    if (last && last.order > this.#sizeOrder) {
      this.#durable.resize(last.sizeAfter)
      this.#sizeOrder = last.order
    }
    this.#pending = left
  }
}

function rangesOf(pending: Pending): readonly Range[] {
  return pending.kind === 'write' ? pending.ranges : []
}

function cutOut(pending: Pending, from: number, to: number): void {
  if (pending.kind === 'resize') return
  pending.ranges = pending.ranges.flatMap(({ position, bytes }) => {
    const end = position + bytes.byteLength
    if (end <= from || position >= to) return [{ position, bytes }]
    const rest: Range[] = []
    if (position < from) rest.push({ position, bytes: bytes.subarray(0, from - position) })
    if (end > to) rest.push({ position: to, bytes: bytes.subarray(to - position) })
    return rest
  })
}

function* survivors(pending: PendingWrite, random: SeededRandom, odds: CrashOdds): Generator<Range> {
  const torn = random.chance(odds.tear)
  const whole = random.chance(odds.keep)
  const sectorOdds = odds.keep === 0 || odds.keep === 1 ? odds.keep : 0.5
  for (const range of pending.ranges) {
    if (!torn) {
      if (whole) yield range
    } else {
      for (const sector of sectorsOf(range)) if (random.chance(sectorOdds)) yield sector
    }
  }
}

function* sectorsOf({ position, bytes }: Range): Generator<Range> {
  for (let at = 0; at < bytes.byteLength; ) {
    const length = sectorBytes - ((position + at) % sectorBytes)
    yield { position: position + at, bytes: bytes.subarray(at, at + length) }
    at += length
  }
}

/** A write in flight when its process is killed was not begun, or stopped between two pages, or came to its end. */
function cutShort(pending: PendingWrite, random: SeededRandom): boolean {
  if (!pending.inFlight) return true
  pending.inFlight = false
  const fate = random.below(3)
  if (fate === 0) return false
  const range = pending.ranges[0]
  if (fate === 1 && range) {
    const stop = Math.floor((range.position + random.below(range.bytes.byteLength)) / pageBytes) * pageBytes
    cutOut(pending, stop, Number.POSITIVE_INFINITY)
  }
  return true
}
