import { basename } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { WalCorruption } from '../../../broker/wal/corruption.js'
import { type ScanResult, scanWal } from '../../../broker/wal/scan.js'
import { segmentFileName } from '../../../broker/wal/segment.js'
import { Wal } from '../../../broker/wal/wal.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { SimulatedDisk } from '../../support/simulated-disk.js'
import { BytesDisk } from './bytes-disk.js'
import {
  commandsOf,
  commit,
  contentOf,
  directory,
  type GroupContent,
  isSameContent,
  KIB,
  recover,
  someIdentity,
  walOptions,
} from './wal-fixture.js'

const segmentBytes = 24 * KIB
const pageBytes = 4 * KIB

interface PlacedGroup {
  readonly content: GroupContent
  readonly file: string
  /** Of its bytes in the file, padding included. */
  readonly start: number
  readonly end: number
}

interface Read {
  readonly groups: readonly PlacedGroup[]
  readonly result: ScanResult
}

async function read(bytes: BytesDisk, from: number): Promise<Read> {
  const groups: PlacedGroup[] = []
  const result = await scanWal({
    disk: bytes.disk,
    directory,
    identity: someIdentity,
    from,
    visit: (group) => {
      const { position, segment } = group
      const file = segmentFileName(segment.number)
      groups.push({ content: contentOf(group), file, start: position, end: position + group.bytes.length })
    },
  })
  return { groups, result }
}

/**
 * Three segments: one with a group over several pages, one out of a recycled file with groups of an earlier life behind
 * its own, and one that a start after a crash made, with a copy of the last group.
 */
async function smallWal(): Promise<BytesDisk> {
  const first = new SimulatedDisk({ seed: 3 })
  const options = walOptions({ disk: first, segmentBytes, sparesMax: 2 })
  const before = await Wal.createFirst(options)
  for (let mark = 1; mark <= 9; mark++) await commit(options, before, commandsOf(500, mark))
  await before.trim(before.end.sequence - 1)
  for (const payloadBytes of [9_000, 100, 60, 50]) await commit(options, before, commandsOf(payloadBytes, 50))
  await before.trim(before.end.sequence - 5)
  const disk = first.kill()
  const { wal } = await recover({ ...options, disk, random: new SeededRandom(8) }, before.end.sequence)
  await commit(options, wal, commandsOf(5_000, 77))
  await commit(options, wal, commandsOf(300, 78))
  const bytes = await BytesDisk.of(disk)
  for (const name of bytes.files.keys()) if (name.startsWith('spare-')) bytes.files.delete(name)
  return bytes
}

/** What a scan came to: the groups it found, or the refusal. */
type Outcome = Read | WalCorruption

async function outcomeOf(bytes: BytesDisk, from: number): Promise<Outcome> {
  try {
    return await read(bytes, from)
  } catch (error) {
    if (error instanceof WalCorruption) return error
    throw error
  }
}

/** What a flip of this byte must come to: a group's damage, a header's, or nothing at all. */
function mustBe(
  outcome: Outcome,
  flip: { file: string; at: number },
  intact: readonly PlacedGroup[],
): boolean {
  const hit = intact.find(({ file, start, end }) => file === flip.file && flip.at >= start && flip.at < end)
  const isHeader = flip.at < pageBytes
  if (isHeader || (hit !== undefined && hit !== intact.at(-1))) {
    if (!(outcome instanceof WalCorruption) || basename(outcome.file) !== flip.file) return false
    return isHeader
      ? outcome.byteOffset === 0
      : outcome.byteOffset >= (hit?.start ?? 0) && outcome.byteOffset < (hit?.end ?? 0)
  }
  if (outcome instanceof WalCorruption) return false
  const { tornTail } = outcome.result
  if (hit === undefined) return tornTail === undefined && areSame(outcome.groups, intact)
  const isSaid =
    tornTail !== undefined && basename(tornTail.file) === hit.file && tornTail.byteOffset === hit.start
  return isSaid && areSame(outcome.groups, intact.slice(0, -1))
}

const areSame = (a: readonly PlacedGroup[], b: readonly PlacedGroup[]): boolean =>
  a.length === b.length && a.every(({ content }, i) => isSameContent(content, (b[i] as PlacedGroup).content))

const files = [3, 4, 5].map(segmentFileName)

describe('a WAL with one damaged byte', () => {
  let bytes: BytesDisk
  let intact: Read

  beforeAll(async () => {
    bytes = await smallWal()
    intact = await read(bytes, 11)
  })

  it('is what these tests take it to be', () => {
    expect([...bytes.files.keys()]).toEqual(files)
    const places = intact.groups.map(({ content, file, start, end }) => [content.sequence, file, start, end])
    expect(places).toEqual([
      [11, files[0], 4096, 8192],
      [12, files[0], 8192, 20480],
      // The end of the segment.
      [13, files[0], 20480, 24576],
      [14, files[1], 4096, 8192],
      [15, files[1], 8192, 12288],
      // The copy: the first one stands in the segment before, with the end of that segment behind it.
      [16, files[2], 4096, 8192],
      [17, files[2], 8192, 16384],
      [18, files[2], 16384, 20480],
    ])
    const stale = bytes.files.get(files[1] ?? '')?.subarray(20480)
    expect(stale?.some((byte) => byte !== 0)).toBe(true)
  })

  it.each([
    [files[0], 0x01],
    [files[0], 0xff],
    [files[1], 0x01],
    [files[1], 0xff],
    [files[2], 0x01],
    [files[2], 0xff],
  ])('is refused, or says that its tail is torn, or reads as before: %s xor %i', async (file = '', mask) => {
    const content = bytes.files.get(file) as Uint8Array
    // From this file on: what stands before it is read no differently.
    const groups = intact.groups.slice(intact.groups.findIndex((group) => group.file === file))
    const from = groups[0]?.content.sequence ?? 0
    const wrong: number[] = []
    for (let at = 0; at < content.length; at++) {
      content[at] = (content[at] ?? 0) ^ mask
      if (!mustBe(await outcomeOf(bytes, from), { file, at }, groups)) wrong.push(at)
      content[at] = (content[at] ?? 0) ^ mask
    }
    expect(wrong).toEqual([])
  })
})
