import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { SnapshotCorruption } from '../../broker/manifest/snapshot-format.js'
import { readSnapshot, verifySnapshot } from '../../broker/manifest/snapshot-reader.js'
import type { ForkableDisk } from '../support/forkable-disk.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { chosen, otherNumber } from './lies.js'
import { RecoverySubject } from './recovery.js'

interface SnapshotRecipe {
  readonly changes: readonly {
    readonly what: number
    readonly at: number
    readonly n: number
    readonly seal: number
  }[]
}

const snapshotRecipe: fc.Arbitrary<SnapshotRecipe> = fc.record(
  {
    changes: fc.array(
      fc.record(
        { what: fc.nat(7), at: fc.nat(5_000), n: fc.nat(500), seal: fc.nat(2) },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 2 },
    ),
  },
  { noNullPrototype: true },
)

let disk: ForkableDisk
let path: string
let written: Uint8Array
let rows: string[]

beforeAll(async () => {
  const subject = await RecoverySubject.make({ stop: 'clean', noSnapshots: false })
  disk = subject.fork()
  path = disk.paths.filter((each) => each.startsWith('/snapshots/')).at(-1) as string
  written = new Uint8Array(disk.bytesOf(path))
  rows = await rowsOf(disk)
  expect(rows.length).toBeGreaterThan(20)
}, 300_000)

test('a changed snapshot is refused with CORRUPT_DATA, or gives the rows that were written', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const outcomes = { same: 0, refused: 0 }
  await runCampaign({
    name: 'snapshots',
    recipe: snapshotRecipe,
    runs: 600,
    holds: async (recipe) => {
      outcomes[await trySnapshot(recipe)]++
    },
  })
  expect(outcomes.refused).toBeGreaterThan(100)
})

async function trySnapshot({ changes }: SnapshotRecipe): Promise<'same' | 'refused'> {
  const mine = disk.fork()
  let bytes = new Uint8Array(written)
  for (const change of changes) bytes = changed(bytes, change)
  mine.put(path, bytes)
  try {
    const report = await verifySnapshot(mine, path)
    // Each row has a checksum of its own besides: nothing here makes those right.
    expect(await rowsOf(mine)).toEqual(rows)
    expect(report.rows).toBe(rows.length)
    return 'same'
  } catch (error) {
    if (!(error instanceof SnapshotCorruption)) throw error
    return 'refused'
  }
}

async function rowsOf(from: ForkableDisk): Promise<string[]> {
  const found: string[] = []
  for await (const block of readSnapshot(from, path))
    for (const [key, value] of block)
      found.push(`${Buffer.from(key).toString('hex')} ${Buffer.from(value).toString('hex')}`)
  return found
}

const HEADER_BYTES = 64
const FOOTER_BYTES = 64
const BLOCK_HEADER_BYTES = 16

/** `seal` 0: no checksum is made right; 1: that of the part; 2: that of the whole too. */
function changed(
  before: Uint8Array,
  { what, at, n, seal }: SnapshotRecipe['changes'][number],
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(before)
  const footerAt = bytes.length - FOOTER_BYTES
  if (footerAt < HEADER_BYTES + BLOCK_HEADER_BYTES) return bytes
  const places = rowPlaces(bytes)
  const row = chosen(places, at)
  switch (what) {
    case 0:
      lie(bytes, chosen([4, 8, 24, 28, 32, 36], at), n)
      break
    case 1:
      lie(bytes, HEADER_BYTES + chosen([0, 4, 8], at), n)
      break
    case 2:
      lie(bytes, footerAt + chosen([4, 8, 16, 20, 24, 28], at), n)
      break
    case 3:
      // The length of a row's key, which is two bytes.
      bytes[row] = otherNumber(bytes[row] as number, n, { max: 255 })
      break
    case 4:
      lie(bytes, row + 2, n)
      break
    case 5: {
      const other = chosen(places, at + 1)
      const length = Math.min(n, bytes.length - other, bytes.length - row)
      bytes.copyWithin(row, other, other + length)
      break
    }
    case 6:
      return bytes.slice(0, Math.max(0, bytes.length - 1 - n * 7))
    default:
      lie(bytes, row + 6 + (n % 60), n)
  }
  if (seal >= 1) sealParts(bytes)
  if (seal === 2) sealWhole(bytes)
  return bytes
}

function lie(bytes: Uint8Array, at: number, n: number): void {
  if (at + 4 > bytes.length) return
  const data = new DataView(bytes.buffer)
  data.setUint32(at, otherNumber(data.getUint32(at, true), n, { max: 0xffff_ffff }), true)
}

/** Where the rows of the first block begin. */
function rowPlaces(bytes: Uint8Array): number[] {
  const data = new DataView(written.buffer)
  const end = Math.min(
    bytes.length - FOOTER_BYTES,
    HEADER_BYTES + BLOCK_HEADER_BYTES + data.getUint32(HEADER_BYTES + 4, true),
  )
  const places: number[] = []
  for (let at = HEADER_BYTES + BLOCK_HEADER_BYTES; at + 6 < end; ) {
    places.push(at)
    at += 6 + data.getUint16(at, true) + data.getUint32(at + 2, true)
  }
  return places
}

function sealParts(bytes: Uint8Array): void {
  const data = new DataView(bytes.buffer)
  const footerAt = bytes.length - FOOTER_BYTES
  data.setUint32(60, crc32(bytes.subarray(0, 60)), true)
  const blockEnd = HEADER_BYTES + BLOCK_HEADER_BYTES + data.getUint32(HEADER_BYTES + 4, true)
  const head = crc32(bytes.subarray(HEADER_BYTES, HEADER_BYTES + 12))
  if (blockEnd <= footerAt)
    data.setUint32(
      HEADER_BYTES + 12,
      crc32(bytes.subarray(HEADER_BYTES + BLOCK_HEADER_BYTES, blockEnd), head),
      true,
    )
  data.setUint32(footerAt + 60, crc32(bytes.subarray(footerAt, footerAt + 60)), true)
}

function sealWhole(bytes: Uint8Array): void {
  const data = new DataView(bytes.buffer)
  const footerAt = bytes.length - FOOTER_BYTES
  data.setUint32(footerAt + 24, crc32(bytes.subarray(0, footerAt)), true)
  data.setUint32(footerAt + 60, crc32(bytes.subarray(footerAt, footerAt + 60)), true)
}
