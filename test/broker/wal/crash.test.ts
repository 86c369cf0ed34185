import { describe, expect, it } from 'vitest'
import { encodedCommand, type WalCommand } from '../../../broker/wal/command.js'
import { SlabPool } from '../../../broker/wal/slab.js'
import { Wal, type WalOptions } from '../../../broker/wal/wal.js'
import { storedEntry } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk, type SimulatedOperation } from '../../support/simulated-disk.js'
import {
  appendOf,
  contentOfCommands,
  type GroupContent,
  isSameContent,
  KIB,
  recover,
  scan,
  walOptions,
} from './wal-fixture.js'

/** `MILLRACE_CRASH_SEEDS=5000` runs more; `MILLRACE_CRASH_SEED=17` replays one. */
const seedCount = Number(process.env.MILLRACE_CRASH_SEEDS ?? 500)
const onlySeed = process.env.MILLRACE_CRASH_SEED
const seeds = onlySeed === undefined ? Array.from({ length: seedCount }, (_, i) => i + 1) : [Number(onlySeed)]

const segmentBytes = 32 * KIB

/**
 * A broker's life with its WAL, over many crashes, and what the outside knows of it: which groups were acknowledged,
 * which may or may not be there, and below which sequence nobody needs anything.
 */
class Lives {
  readonly #random: SeededRandom
  #disk: SimulatedDisk
  #operationsLeft = Number.POSITIVE_INFINITY
  #dieWriting = false
  #died: () => void = () => {}
  #epoch = 0
  /** On disk for certain: committed and answered, or found by a recovery that ended. */
  readonly #known = new Map<number, GroupContent>()
  /** Begun and never answered: at most this one may appear besides. */
  #inFlight: GroupContent | undefined
  #highest = 0
  /** The oldest group that is still needed. */
  #from = 1
  #cleanEnd: { sequence: number; headerCrc: number } | undefined
  crashes = 0
  tornTails = 0
  recoveries = 0

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
    this.#disk = new SimulatedDisk({
      seed,
      onOperation: (event) => this.#countDown(event),
    })
  }

  /** Half of the lives end at any operation, half in the middle of a write. */
  #countDown({ operation, phase }: SimulatedOperation): void {
    if (this.#dieWriting && (operation !== 'write' || phase !== 'begin')) return
    if (--this.#operationsLeft !== 0) return
    const disk = this.#disk
    // A microtask later an operation that begins now is under way.
    if (this.#dieWriting) queueMicrotask(() => disk.isDead || this.#strike())
    else this.#strike()
  }

  #strike(): void {
    this.crashes++
    this.#disk = this.#random.chance(0.5) ? this.#disk.crash() : this.#disk.kill()
    this.#died()
  }

  async run(count: number): Promise<void> {
    await this.#createFirst()
    for (let i = 0; i < count; i++) {
      // Short lives die in recovery, long ones in the middle of commits, rolls and trims.
      this.#dieWriting = this.#random.chance(0.5)
      this.#operationsLeft =
        1 + this.#random.below(this.#random.pick(this.#dieWriting ? [4, 40] : [20, 60, 200]))
      await this.#untilDeath()
    }
    this.#operationsLeft = Number.POSITIVE_INFINITY
    await this.#recover()
  }

  /** One life to its end or its death: what is under way on a dead disk never settles. */
  async #untilDeath(): Promise<void> {
    const disk = this.#disk
    const died = new Promise<void>((resolve) => {
      this.#died = resolve
    })
    const life = this.#live().catch((error: unknown) => {
      if (!disk.isDead) throw error
    })
    await Promise.race([died, life])
    if (!disk.isDead) this.#strike()
  }

  #options(): WalOptions {
    return walOptions({
      disk: this.#disk,
      segmentBytes,
      shardEpoch: ++this.#epoch,
      random: this.#random.fork(),
      sparesMax: this.#random.below(3),
      slabs: new SlabPool({ slabBytes: 16 * KIB, freeBytesMax: 16 * KIB }),
    })
  }

  async #createFirst(): Promise<void> {
    const wal = await Wal.createFirst(this.#options())
    await wal.close()
  }

  async #live(): Promise<void> {
    const options = this.#options()
    const wal = await this.#recover(options)
    while (this.#random.chance(0.99)) {
      const roll = this.#random.fraction()
      if (roll < 0.1) await this.#trim(wal)
      else if (roll < 0.13) await this.#trimDuring(this.#commit(options, wal), wal)
      else await this.#commit(options, wal)
    }
    await wal.close()
    expect(options.slabs.bytesInUse).toBe(0)
    if (this.#known.has(wal.end.sequence)) this.#cleanEnd = wal.end
  }

  async #commit(options: WalOptions, wal: Wal): Promise<void> {
    const commands = this.#someCommands()
    const time = 1_700_000_000_000 + this.#random.below(1000)
    // A roll in front of it takes a sequence of its own.
    this.#inFlight = contentOfCommands({ sequence: wal.end.sequence, time, commands })
    const committed = await wal.commit({ commands, time })
    this.#know(contentOfCommands({ sequence: committed.sequence, time, commands }))
    this.#inFlight = undefined
    for (const [index, command] of commands.entries()) {
      const expected = new Uint8Array(command.byteLength)
      command.writeBody(expected, 0)
      const start = committed.slabPosition + (committed.bodyStarts[index] ?? 0)
      const inSlab = committed.slab.buffer.subarray(start, start + expected.length)
      expect(Buffer.compare(inSlab, expected)).toBe(0)
      await this.#expectOnDisk(
        wal,
        committed.segment,
        committed.position + (committed.bodyStarts[index] ?? 0),
        expected,
      )
    }
    options.slabs.release(committed.slab)
  }

  async #expectOnDisk(wal: Wal, segment: number, position: number, expected: Uint8Array): Promise<void> {
    if (!this.#random.chance(0.05)) return
    const buffer = new Uint8Array(expected.length)
    expect(await wal.files.read(segment, buffer, position)).toBe(expected.length)
    expect(Buffer.compare(buffer, expected)).toBe(0)
  }

  #know(group: GroupContent): void {
    this.#known.set(group.sequence, group)
    this.#highest = Math.max(this.#highest, group.sequence)
  }

  async #trim(wal: Wal): Promise<void> {
    const limit = this.#from - 1 + this.#random.below(this.#highest - this.#from + 2)
    // The manifest that says so is durable before the trim.
    this.#from = limit + 1
    await wal.trim(limit)
  }

  async #trimDuring(other: Promise<void>, wal: Wal): Promise<void> {
    await Promise.all([other, this.#trim(wal)])
  }

  #someCommands(): WalCommand[] {
    const random = this.#random
    const count = random.pick([0, 1, 1, 1, 2, 3])
    return Array.from({ length: count }, (_, record) => {
      const bytes = random.pick([0, 10, 500, 3_000, 9_000, 9_000])
      if (random.chance(0.3)) return encodedCommand(9, record, random.bytes(bytes % 600))
      const size = random.chance(0.01) ? 2 * segmentBytes : bytes
      const payload = filled(size, random.uint32())
      return appendOf(
        storedEntry({ baseOffset: random.below(1e6), partition: random.below(8), payload }),
        record,
      )
    })
  }

  async #recover(options = this.#options()): Promise<Wal> {
    const clean = this.#cleanEnd
    this.#cleanEnd = undefined
    const from = this.#from
    if (clean !== undefined && this.#random.chance(0.5)) {
      const { groups, result } = await scan({ disk: options.disk, from })
      this.#check(groups, from)
      expect(result.end).toMatchObject(clean)
      expect(result.tornTail).toBeUndefined()
      if (result.end !== undefined && result.unused.length === 0) {
        return await Wal.continueAt(options, result.segments, result.end)
      }
    }
    const { groups, wal, result, rewritten } = await recover(options, from)
    this.recoveries++
    if (result.tornTail !== undefined) this.tornTails++
    this.#check(groups, from)
    // From here on what was found is served: no later crash may take it away.
    for (const group of groups) this.#know(group)
    this.#inFlight = undefined
    if (rewritten !== undefined && result.lastGroup !== undefined) {
      const { header, rows, bytes } = result.lastGroup
      expect(header.sequence).toBe(wal.end.sequence)
      for (const row of rows) {
        const body = bytes.subarray(row.byteStart, row.byteStart + row.byteLength)
        await this.#expectOnDisk(wal, rewritten.segment, rewritten.position + row.byteStart, body)
      }
    }
    return wal
  }

  /** Everything known is there, in sequence and byte for byte; of all else only what was in flight. */
  #check(groups: readonly GroupContent[], from: number): void {
    const [first] = groups
    if (first === undefined) {
      expect(this.#highest).toBeLessThan(from)
      return
    }
    groups.forEach((group, index) => {
      expect(group.sequence).toBe(first.sequence + index)
      const known = this.#known.get(group.sequence)
      if (known !== undefined) {
        // vitest's own comparison takes too long to be asked about what is equal.
        if (!isSameContent(group, known)) expect(group).toEqual(known)
      } else if (group.sequence > this.#highest) this.#expectInFlight(group)
      // The end of a segment: nobody was told of it.
      else expect(group.commands).toEqual([])
    })
    expect(first.sequence).toBeLessThanOrEqual(from)
    expect(groups.at(-1)?.sequence).toBeGreaterThanOrEqual(this.#highest)
  }

  #expectInFlight(group: GroupContent): void {
    const above = group.sequence - this.#highest
    if (group.commands.length === 0 && above === 1) return
    expect(above).toBeLessThanOrEqual(2)
    expect({ ...group, sequence: 0 }).toEqual({ ...this.#inFlight, sequence: 0 })
  }
}

const filled = (bytes: number, mark: number): Uint8Array => {
  const payload = new Uint8Array(bytes).fill(mark)
  if (bytes >= 4) new DataView(payload.buffer).setUint32(0, mark)
  return payload
}

describe('a WAL on a disk that crashes at any moment, in recovery too', () => {
  it('keeps every acknowledged group, and of all else at most the one in flight', async () => {
    const seen = { crashes: 0, recoveries: 0, tornTails: 0 }
    for (const seed of seeds) {
      const lives = new Lives(seed)
      try {
        await lives.run(8)
      } catch (error) {
        throw new Error(
          `MILLRACE_CRASH_SEED=${seed} fails: ${error instanceof Error ? error.message : error}`,
          {
            cause: error,
          },
        )
      }
      seen.crashes += lives.crashes
      seen.recoveries += lives.recoveries
      seen.tornTails += lives.tornTails
    }
    // The runs are what they claim to be.
    expect(seen.crashes).toBeGreaterThanOrEqual(seeds.length * 8)
    if (seeds.length > 100) {
      expect(seen.recoveries).toBeGreaterThan(seeds.length * 2)
      expect(seen.tornTails).toBeGreaterThan(seeds.length / 20)
    }
  })
})
