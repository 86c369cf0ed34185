import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import { beforeAll, expect, test } from 'vitest'
import { OPCODE } from '../../broker/shard/commands.js'
import {
  DIRECTORY_ROW_BYTES,
  type DirectoryRow,
  GROUP_HEADER_BYTES,
  type GroupHeader,
} from '../../broker/wal/group.js'
import type { SegmentHeader } from '../../broker/wal/segment.js'
import {
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  readEntryHeader,
  writeEntryHeader,
} from '../../protocol/entry.js'
import type { ForkableDisk } from '../support/forkable-disk.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { type ForgedCommand, type ForgedGroup, ForgedWal } from './forged-wal.js'
import { chosen, otherNumber } from './lies.js'
import { encode } from './messagepack.js'
import { RecoverySubject } from './recovery.js'
import { editTree, type TreeEdit, treeEdit } from './tree-edits.js'

interface WalRecipe {
  readonly subject: number
  /** Whether the manifest is there: without it everything is applied anew. */
  readonly withManifest: boolean
  readonly changes: readonly {
    readonly what: number
    readonly group: number
    readonly at: number
    readonly n: number
    /** 0: as the bytes come; 1: the group's own CRCs right; 2: those of all that follows too. */
    readonly seal: number
    readonly edit: TreeEdit
  }[]
}
type WalChange = WalRecipe['changes'][number]

const walRecipe: fc.Arbitrary<WalRecipe> = fc.record(
  {
    subject: fc.nat(1),
    withManifest: fc.boolean(),
    changes: fc.array(
      fc.record(
        {
          what: fc.nat(15),
          group: fc.nat(500),
          at: fc.nat(50),
          n: fc.nat(500),
          seal: fc.nat(2),
          edit: treeEdit,
        },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 2 },
    ),
  },
  { noNullPrototype: true },
)

let subjects: RecoverySubject[]

beforeAll(async () => {
  subjects = [
    await RecoverySubject.make({ stop: 'killed', noSnapshots: true }),
    await RecoverySubject.make({ stop: 'clean', noSnapshots: true }),
  ]
}, 300_000)

test('a start on a WAL whose groups were changed refuses with CORRUPT_DATA and changes nothing, or serves what is there', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  const outcomes = { unchanged: 0, other: 0, readRefused: 0, refused: 0 }
  await runCampaign({
    name: 'wal',
    recipe: walRecipe,
    runs: 80,
    holds: async (recipe) => {
      outcomes[await tryWal(recipe)]++
    },
  })
  console.log('starts:', outcomes)
  expect(outcomes.refused).toBeGreaterThan(10)
})

async function tryWal(recipe: WalRecipe): Promise<'unchanged' | 'other' | 'readRefused' | 'refused'> {
  const subject = chosen(subjects, recipe.subject)
  const disk = subject.fork()
  let isForged = false
  for (const change of recipe.changes) isForged = (await apply(disk, change)) || isForged
  const looked = await subject.look(disk, recipe.withManifest ? subject.rows : [])
  const { started, verified } = looked
  if (!('contents' in started)) return 'refused'
  if (started.contents === 'CORRUPT_DATA') return 'readRefused'
  if (subject.isUnchanged(looked, recipe)) return 'unchanged'
  // Bytes that still say what they were written to say cannot be told from true ones; all others must be.
  if (!isForged && verified.status !== 'tornTail')
    throw new Error(
      `other records are served than were written, and no checksum was forged (${verified.status})`,
    )
  return 'other'
}

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })

/** Makes one change; returns whether checksums were made right again after it. */
async function apply(disk: ForkableDisk, change: WalChange): Promise<boolean> {
  const wal = await ForgedWal.read(disk).catch(() => undefined)
  // The change before this one has made the WAL unreadable: no more is to be done to it.
  if (wal === undefined || wal.groups.length === 0) return change.seal > 0
  const group = chosen(wal.groups, change.group)
  const other = chosen(wal.groups, change.group + change.n + 1)
  const { n, at } = change
  switch (change.what) {
    case 0:
      wal.overwrite(group.file, group.position, wal.bytesOf(other))
      return false
    case 1: {
      const [mine, others] = [wal.bytesOf(group), wal.bytesOf(other)]
      if (mine.length !== others.length) return false
      wal.overwrite(group.file, group.position, others)
      wal.overwrite(other.file, other.position, mine)
      return false
    }
    case 2:
      wal.overwrite(group.file, group.position, new Uint8Array(group.spanBytes))
      return false
    case 3:
      return changeSegment(wal, group, other, change)
    case 4:
      return exchangeFiles(disk, group.file, other.file, n)
    case 5:
      group.commands = rearranged(group.commands, other.commands, n)
      break
    case 6:
    case 7:
      group.lie = headerLie(group.header, other.header, { at, n })
      break
    case 8:
    case 9: {
      const command = group.commands.at(at % Math.max(1, group.commands.length))
      if (command !== undefined) command.lie = rowLie(command, other.commands.at(0), { at, n })
      break
    }
    case 10:
    case 11:
    case 12:
      changeEntry(wal, change)
      return writeAs(wal, entryGroup(wal, change), change)
    default:
      changeCommand(wal, change)
      return writeAs(wal, commandGroup(wal, change), change)
  }
  return writeAs(wal, group, change)
}

function writeAs(wal: ForgedWal, group: ForgedGroup | undefined, { seal, n }: WalChange): boolean {
  if (group === undefined) return false
  if (seal === 2) return wal.writeWithChain(group)
  const before = wal.bytesOf(group)
  if (!wal.write(group)) return false
  if (seal === 1) return true
  // Bodies and directory as they are now, under the checksums of before; every other time the bodies alone.
  const bytes = wal.bytesOf(group)
  const bodiesAt = GROUP_HEADER_BYTES + group.header.commandCount * DIRECTORY_ROW_BYTES
  if (n % 2 === 0) bytes.set(before.subarray(0, bodiesAt))
  else bytes.set(before.subarray(8, 16), 8)
  wal.overwrite(group.file, group.position, bytes)
  return false
}

const hasCommand = (isMine: (command: ForgedCommand) => boolean) => (group: ForgedGroup) =>
  group.commands.some(isMine)
/** Not what only says so since it was changed. */
const isEntry = ({ row, body }: ForgedCommand): boolean =>
  row.opcode === OPCODE.append && body.length >= ENTRY_HEADER_BYTES

const entryGroup = (wal: ForgedWal, { group }: WalChange) =>
  chosen(wal.groups.filter(hasCommand(isEntry)), group)
const commandGroup = (wal: ForgedWal, { group }: WalChange) =>
  chosen(wal.groups.filter(hasCommand((each) => !isEntry(each))), group)

/** A field of an entry's header is another, the header's CRC right. */
function changeEntry(wal: ForgedWal, change: WalChange): void {
  const { at, n } = change
  const command = entryGroup(wal, change).commands.find(isEntry) as ForgedCommand
  const header = readEntryHeader(command.body)
  const other = readEntryHeader(
    (chosen(wal.groups.filter(hasCommand(isEntry)), n).commands.find(isEntry) as ForgedCommand).body,
  )
  const lied = lie(header, other, { at, n }) as EntryHeader
  writeEntryHeader(command.body, 0, { ...header, ...lied })
  command.row = { ...command.row, ...pick(lied, ['topicId', 'partition', 'baseOffset', 'recordCount']) }
}

/** A field of a command is another, its CRC right. */
function changeCommand(wal: ForgedWal, change: WalChange): void {
  const group = commandGroup(wal, change)
  const mine = group.commands.filter((each) => !isEntry(each))
  const command = chosen(mine, change.at)
  const others = wal.groups.flatMap(({ commands }) => commands).filter((each) => !isEntry(each))
  const alike = others.filter(({ row }) => row.opcode === command.row.opcode)
  const trees = [chosen(alike, change.n), chosen(others, change.n)].map(treeOf)
  const edited = editTree(unpackr.unpack(packr.pack(treeOf(command))), change.edit, trees)
  command.body = encode(edited)
  if (change.n % 5 === 0) command.row = { ...command.row, opcode: (change.n / 5) % 24 }
}

/** Nothing for a body that a change before this one has spoilt. */
function treeOf({ body }: ForgedCommand): unknown[] {
  try {
    return unpackr.unpack(body) as unknown[]
  } catch {
    return []
  }
}

/** Commands twice, not at all, in another order, or another group's. */
function rearranged(
  mine: readonly ForgedCommand[],
  others: readonly ForgedCommand[],
  n: number,
): ForgedCommand[] {
  switch (n % 5) {
    case 0:
      return [...mine, ...mine.slice(0, 1)]
    case 1:
      return mine.slice(1)
    case 2:
      return [...mine].reverse()
    case 3:
      return [...others]
    default:
      return [...mine, ...others]
  }
}

function headerLie(
  header: GroupHeader,
  other: GroupHeader,
  how: { at: number; n: number },
): Partial<GroupHeader> {
  const { directoryCrc: _, headerCrc: __, ...fields } = header
  return lie(fields, other, how)
}

function rowLie(
  { row }: ForgedCommand,
  other: ForgedCommand | undefined,
  how: { at: number; n: number },
): Partial<DirectoryRow> {
  const places = { byteStart: 128 + 64, byteLength: 100, bodyCrc: 1 }
  return lie({ ...row, ...places }, other?.row ?? row, how) as Partial<DirectoryRow>
}

/** One field of `fields` with another value: a number off, or the other's. */
function lie<Fields extends object>(
  fields: Fields,
  other: Partial<Record<keyof Fields, unknown>>,
  { at, n }: { at: number; n: number },
): Partial<Fields> {
  const name = chosen(Object.keys(fields) as (keyof Fields)[], at)
  const value = fields[name]
  if (typeof value !== 'number') return { [name]: other[name] ?? value } as Partial<Fields>
  const max = FIELD_MAX[name as string] ?? Number.MAX_SAFE_INTEGER
  const others = typeof other[name] === 'number' ? [other[name] as number] : []
  return { [name]: otherNumber(value, n, { max, others }) } as Partial<Fields>
}

/** What the bytes of a field can hold. */
const FIELD_MAX: Readonly<Record<string, number>> = {
  flags: 0xffff,
  opcode: 0xffff,
  attributes: 0xffff,
  ...Object.fromEntries(
    [
      'shardEpoch',
      'bytes',
      'commandCount',
      'previousCrc',
      'record',
      'byteStart',
      'byteLength',
      'partition',
      'recordCount',
      'bodyCrc',
      'payloadCrc',
      'lastOffsetDelta',
      'producerEpoch',
      'sectionBytes',
      'sectionCrc',
      'payloadBytes',
      'inflatedBytes',
      'salt',
    ].map((name) => [name, 0xffff_ffff]),
  ),
}

function changeSegment(
  wal: ForgedWal,
  group: ForgedGroup,
  other: ForgedGroup,
  { at, n }: WalChange,
): boolean {
  const header = wal.segmentOf(group.file)
  const lied = lie(header, wal.segmentOf(other.file), { at, n }) as Partial<SegmentHeader>
  // The file has the size that it has: its header alone says another.
  wal.rewriteSegment(group.file, lied)
  return true
}

function exchangeFiles(disk: ForkableDisk, file: string, other: string, n: number): boolean {
  const [mine, others] = [disk.bytesOf(file), disk.bytesOf(other)]
  if (n % 4 === 0) disk.take(file)
  else if (n % 4 === 1) disk.put(file, mine.subarray(0, mine.length - 1 - (n % 9000)))
  else {
    disk.put(file, others)
    if (n % 4 === 2) disk.put(other, mine)
  }
  return false
}

function pick<Fields extends object, Name extends string>(
  fields: Fields,
  names: readonly Name[],
): Partial<Record<Name, never>> {
  return Object.fromEntries(
    Object.entries(fields).filter(([name]) => names.includes(name as Name)),
  ) as Partial<Record<Name, never>>
}
