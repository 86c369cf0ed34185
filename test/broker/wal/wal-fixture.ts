import { join } from 'node:path'
import type { Disk } from '../../../broker/platform/disk.js'
import { noFailpoints } from '../../../broker/platform/failpoints.js'
import { noMetrics } from '../../../broker/platform/metrics.js'
import { encodedCommand, OPCODE_APPEND, type WalCommand } from '../../../broker/wal/command.js'
import type { WalIdentity } from '../../../broker/wal/position.js'
import { type ScannedGroup, type ScanOptions, type ScanResult, scanWal } from '../../../broker/wal/scan.js'
import { segmentFileName } from '../../../broker/wal/segment.js'
import { SlabPool } from '../../../broker/wal/slab.js'
import { Wal, type WalOptions } from '../../../broker/wal/wal.js'
import { readHeaderCrc } from '../../../protocol/entry.js'
import { clusterIdFrom } from '../../../protocol/ids.js'
import { type StoredEntry, storedEntry } from '../../support/entries.js'
import { SeededRandom } from '../../support/seeded-random.js'

export const KIB = 1024
export const directory = '/wal'

export const someIdentity: WalIdentity = {
  clusterId: clusterIdFrom('c0c1c2c3c4c5c6c7c8c9cacbcccdcecf'),
  walId: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
}

/** Options of a WAL of 64 KiB segments with one spare. */
export const walOptions = (options: Partial<WalOptions> & { disk: Disk }): WalOptions => ({
  directory,
  identity: someIdentity,
  shardEpoch: 1,
  segmentBytes: 64 * KIB,
  sparesMax: 1,
  slabs: new SlabPool({ slabBytes: 32 * KIB, freeBytesMax: 64 * KIB }),
  random: new SeededRandom(7),
  failpoints: noFailpoints,
  metrics: noMetrics,
  ...options,
})

export const segmentPath = (number: number, within = directory): string =>
  join(within, segmentFileName(number))

/** The append of a stored entry, as the sequencer makes it. */
export const appendOf = ({ header, bytes }: StoredEntry, record = 0): WalCommand => ({
  opcode: OPCODE_APPEND,
  record,
  byteLength: bytes.length,
  topicId: header.topicId,
  partition: header.partition,
  baseOffset: header.baseOffset,
  recordCount: header.recordCount,
  writeBody(target, position) {
    target.set(bytes, position)
    return readHeaderCrc(bytes)
  },
})

/** A group's worth of commands: an append with a payload of that many bytes, and a small command behind it. */
export const commandsOf = (payloadBytes: number, mark = 0): WalCommand[] => [
  appendOf(storedEntry({ baseOffset: mark, payload: new Uint8Array(payloadBytes).fill(mark % 251) })),
  encodedCommand(9, 1, new Uint8Array([mark % 256, 1, 2, 3])),
]

/** What a group says: its place, its time, and every command with all that its directory row holds. */
export interface GroupContent {
  readonly sequence: number
  readonly time: number
  readonly commands: readonly string[]
}

/** One command as text, so that groups compare by value and failures are readable. */
function commandText(command: Omit<WalCommand, 'writeBody' | 'byteLength'>, body: Uint8Array): string {
  const { opcode, record, topicId, partition, baseOffset, recordCount } = command
  const about = [opcode, record, topicId, partition, baseOffset, recordCount].join(' ')
  return `${about} ${Buffer.from(body).toString('latin1')}`
}

export function contentOfCommands(group: {
  sequence: number
  time: number
  commands: readonly WalCommand[]
}): GroupContent {
  const commands = group.commands.map((command) => {
    const body = new Uint8Array(command.byteLength)
    command.writeBody(body, 0)
    return commandText(command, body)
  })
  return { sequence: group.sequence, time: group.time, commands }
}

export function contentOf({ header, rows, bytes }: ScannedGroup): GroupContent {
  const commands = rows.map((row) =>
    commandText(row, bytes.subarray(row.byteStart, row.byteStart + row.byteLength)),
  )
  return { sequence: header.sequence, time: header.time, commands }
}

/** As `toEqual` would say, in no time. */
export const isSameContent = (a: GroupContent, b: GroupContent): boolean =>
  a.sequence === b.sequence &&
  a.time === b.time &&
  a.commands.length === b.commands.length &&
  a.commands.every((command, i) => command === b.commands[i])

export interface Scanned {
  readonly groups: GroupContent[]
  readonly result: ScanResult
}

/** Reads a WAL and what its groups hold. */
export async function scan(
  options: Pick<ScanOptions, 'disk'> & Partial<Pick<ScanOptions, 'directory' | 'from' | 'cleanEnd'>>,
): Promise<Scanned> {
  const groups: GroupContent[] = []
  const result = await scanWal({
    directory,
    identity: someIdentity,
    from: 1,
    ...options,
    visit: (group) => groups.push(contentOf(group)),
  })
  return { groups, result }
}

/** Opens a WAL after an unclean stop, in the order in which a broker does. */
export async function recover(
  options: WalOptions,
  from = 1,
): Promise<Scanned & { wal: Wal; rewritten: { segment: number; position: number } | undefined }> {
  const scanned = await scan({ ...options, from })
  const { end, unused } = scanned.result
  if (end === undefined) throw new Error('the WAL has no segment')
  const numberMin = Math.max(0, ...unused.map(({ number }) => number)) + 1
  const afresh = await Wal.continueAfresh(options, { ...scanned.result, end, numberMin })
  for (const { number } of unused) await options.disk.remove(segmentPath(number, options.directory))
  if (unused.length > 0) await options.disk.syncDirectory(options.directory)
  return { ...scanned, ...afresh }
}

/** Commits and gives the slab back, as a receiver without a cache does. */
export async function commit(
  options: Pick<WalOptions, 'slabs'>,
  wal: Wal,
  commands: readonly WalCommand[],
  time = 1_700_000_000_000,
): Promise<GroupContent> {
  const committed = await wal.commit({ commands, time })
  options.slabs.release(committed.slab)
  return contentOfCommands({ sequence: committed.sequence, time, commands })
}
