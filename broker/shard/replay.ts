/**
 * Rebuilds state and index from WAL groups. Groups that the manifest has applied are only indexed; later ones are
 * applied by the same functions that applied them when they were written.
 */

import { readEntryHeader } from '../../protocol/entry.js'
import { entrySection } from '../../protocol/entry-section.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { WalCorruption } from '../wal/corruption.js'
import type { DirectoryRow } from '../wal/group.js'
import type { ScannedGroup } from '../wal/scan.js'
import { segmentFileName } from '../wal/segment.js'
import { applyAppend, applyCommand, beginGroup } from './apply.js'
import type { StreamCreated } from './command-codec/streams.js'
import { type Command, decodeCommand, OPCODE } from './commands.js'
import type { PartitionState, ShardState } from './state.js'

/** Takes in one group, in sequence. Throws WalCorruption when it cannot follow what the state holds. */
export function replayGroup(state: ShardState, group: ScannedGroup, planted?: PlantedFault): void {
  const { header } = group
  const isNew = header.sequence > state.applied.sequence
  if (isNew && header.sequence !== state.applied.sequence + 1) {
    throw damaged(
      group,
      `the state ends with group ${state.applied.sequence} and group ${header.sequence} follows`,
    )
  }
  if (isNew) beginGroup(state, header.time)
  let unit = -1
  for (const row of group.rows) {
    try {
      if (row.opcode === OPCODE.append) {
        const isTorn = planted === 'unitTornAtReplay' && isNew && row.record === unit
        unit = row.record
        if (!isTorn) replayAppend(state, group, row, { isNew, planted })
      } else if (isNew) {
        const body = group.bytes.subarray(row.byteStart, row.byteStart + row.byteLength)
        const command = decodeCommand(row.opcode, body)
        applyCommand(state, withPlanted(command, planted), header.time)
        if (planted === 'forkPointMovedAtReplay' && command.type === 'streamCreated')
          moveForkPoint(state, command)
      }
    } catch (error) {
      if (error instanceof WalCorruption) throw error
      throw damaged(group, error instanceof Error ? error.message : String(error))
    }
  }
  if (!isNew) return
  state.applied = { sequence: header.sequence, headerCrc: header.headerCrc }
  state.time = Math.max(state.time, header.time)
  state.overlay.touched = true
}

/** What is left of a command when a planted fault has kept a part of it out of the WAL. */
function withPlanted(command: Command, planted: PlantedFault | undefined): Command {
  if (planted === 'cursorNotPersisted' && command.type === 'cursorsMoved') return { ...command, moves: [] }
  if (command.type !== 'streamMoved') return command
  if (planted === 'streamProducerApartFromData') return { ...command, producer: null }
  return planted === 'streamClosedNotPersisted' ? { ...command, closes: false } : command
}

function moveForkPoint(state: ShardState, { topicId, fork }: StreamCreated): void {
  const stream = state.topics.get(topicId)?.stream
  if (stream !== undefined && fork !== null)
    stream.row = { ...stream.row, fork: { ...fork, endOffset: fork.endOffset + 1 } }
}

function replayAppend(
  state: ShardState,
  group: ScannedGroup,
  row: DirectoryRow,
  { isNew, planted }: { isNew: boolean; planted: PlantedFault | undefined },
): void {
  const partition = state.partition(row.topicId, row.partition)
  // Its topic was deleted later, or before the manifest's state.
  if (partition === undefined) return
  const header = readEntryHeader(group.bytes, row.byteStart)
  if (isNew) {
    const hasIds = header.sectionBytes > 0 && planted !== 'dedupApartFromData'
    const section = hasIds ? entrySection(group.bytes, header, row.byteStart) : undefined
    applyAppend(state, partition, header, section)
    partition.assignedEnd = partition.endOffset
  }
  if (header.baseOffset < partition.sealedEnd) return
  partition.tail.push({
    baseOffset: header.baseOffset,
    endOffset: header.baseOffset + header.lastOffsetDelta + 1,
    appendTime: header.appendTime,
    bytes: row.byteLength,
    sequence: group.header.sequence,
    segment: group.segment.number,
    position: group.position + row.byteStart,
    slab: undefined,
    slabPosition: 0,
  })
}

const damaged = (group: ScannedGroup, reason: string): WalCorruption =>
  new WalCorruption({ file: segmentFileName(group.segment.number), byteOffset: group.position, reason })

/** Why the WAL does not hold all that is not in chunks; undefined when it does. */
export function missingEntries(partition: PartitionState): string | undefined {
  let offset = partition.sealedEnd
  for (let i = partition.tail.indexOf(offset); i < partition.tail.length; i++) {
    const entry = partition.tail.at(i)
    if (entry === undefined || entry.baseOffset !== offset) break
    offset = entry.endOffset
  }
  if (offset === partition.endOffset) return undefined
  return `topic ${partition.topicId} partition ${partition.partition}: offsets ${offset} to ${partition.endOffset} are in no chunk and not in the WAL`
}
