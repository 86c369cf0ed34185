import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { beforeAll, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import type { StoreEntry } from '../../broker/manifest/store.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { chosen, otherNumber } from './lies.js'
import { encode } from './messagepack.js'
import { RecoverySubject } from './recovery.js'
import { editTree, type TreeEdit, treeEdit } from './tree-edits.js'

interface ManifestRecipe {
  readonly changes: readonly {
    readonly what: number
    readonly row: number
    readonly n: number
    readonly edit: TreeEdit
    readonly isSealed: boolean
  }[]
}
type ManifestChange = ManifestRecipe['changes'][number]

const manifestRecipe: fc.Arbitrary<ManifestRecipe> = fc.record(
  {
    changes: fc.array(
      fc.record(
        { what: fc.nat(8), row: fc.nat(500), n: fc.nat(500), edit: treeEdit, isSealed: fc.boolean() },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 2 },
    ),
  },
  { noNullPrototype: true },
)

let subject: RecoverySubject

beforeAll(async () => {
  subject = await RecoverySubject.make({ stop: 'killed', noSnapshots: false })
}, 300_000)

test('a start on a manifest whose rows were changed refuses with CORRUPT_DATA and changes nothing, or serves what is there', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const outcomes = { unchanged: 0, other: 0, refused: 0 }
  await runCampaign({
    name: 'manifest',
    recipe: manifestRecipe,
    runs: 80,
    holds: async (recipe) => {
      outcomes[await tryManifest(recipe)]++
    },
  })
  console.log('starts:', outcomes)
  expect(outcomes.refused).toBeGreaterThan(10)
})

async function tryManifest({ changes }: ManifestRecipe): Promise<'unchanged' | 'other' | 'refused'> {
  let rows: StoreEntry[] = subject.rows.map(([key, value]) => [new Uint8Array(key), new Uint8Array(value)])
  let isForged = false
  for (const change of changes) {
    rows = changed(rows, change)
    isForged ||= change.isSealed
  }
  // A store gives its rows in the order of their keys, one for each.
  const byKey = new Map(rows.map((row) => [Buffer.from(row[0]).toString('hex'), row]))
  const sorted = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  const looked = await subject.look(subject.fork(), sorted)
  if (!('contents' in looked.started)) return 'refused'
  if (subject.isUnchanged(looked, { withManifest: true })) return 'unchanged'
  if (!isForged && looked.started.contents !== 'CORRUPT_DATA')
    throw new Error('other records are served than were written, and no checksum was forged')
  return 'other'
}

const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })
const BODY_AT = 5

function changed(
  rows: readonly StoreEntry[],
  { what, row, n, edit, isSealed }: ManifestChange,
): StoreEntry[] {
  const index = row % rows.length
  const [key, value] = rows[index] as StoreEntry
  const alike = rows.filter(([each]) => each[0] === key[0])
  const [otherKey, otherValue] = chosen(alike, n)
  const replaced = (newKey: Uint8Array, newValue: Uint8Array): StoreEntry[] => {
    const next = [...rows]
    next[index] = [newKey, isSealed ? sealed(newKey, newValue) : newValue]
    return next
  }
  switch (what) {
    case 0:
      return rows.filter((_, i) => i !== index)
    case 1:
      // Another row of its kind, or the same twice.
      return replaced(key, new Uint8Array(otherValue))
    case 2:
      return [...rows, ...replaced(liedKey(key, n), new Uint8Array(value)).slice(index, index + 1)]
    case 3:
      return replaced(liedKey(key, n), new Uint8Array(value))
    case 4: {
      const copy = new Uint8Array(value)
      copy[4] = n
      return replaced(key, copy)
    }
    case 5: {
      const next = [...rows]
      const other = rows.findIndex(([each]) => each === otherKey)
      next[index] = [key, otherValue]
      next[other] = [otherKey, value]
      return next
    }
    default: {
      const others = alike.map(([, each]) => treeOf(each))
      const tree = editTree(treeOf(value), edit, others)
      return replaced(key, new Uint8Array(Buffer.concat([value.subarray(0, BODY_AT), encode(tree)])))
    }
  }
}

/** The fields of a value; none where the change before this one left no MessagePack. */
function treeOf(value: Uint8Array): unknown[] {
  try {
    return unpackr.unpack(value.slice(BODY_AT)) as unknown[]
  } catch {
    return []
  }
}

/** A field of the key is another: its last four bytes hold a partition, the low half of a number, or the end of an id. */
function liedKey(key: Uint8Array, n: number): Uint8Array {
  const copy = new Uint8Array(key)
  const data = new DataView(copy.buffer)
  if (copy.length < 5 || n % 5 === 0) copy[0] = n % 20
  else data.setUint32(copy.length - 4, otherNumber(data.getUint32(copy.length - 4), n, { max: 0xffff_ffff }))
  return copy
}

/** With a right checksum, which goes over the key too. */
function sealed(key: Uint8Array, value: Uint8Array): Uint8Array {
  const copy = new Uint8Array(value)
  new DataView(copy.buffer).setUint32(0, crc32(copy.subarray(4), crc32(key)))
  return copy
}
