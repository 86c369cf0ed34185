/**
 * What deletion may take of a partition, and who falls behind: pure functions of what it holds, its topic's options and
 * the time. Whole chunks go, never single records.
 */
import type { TopicOptions } from '../../protocol/topic-options.js'
import type { ChunkRow, SectionRow } from '../manifest/rows.js'
import type { StartReason } from './command-codec/topics.js'
import { CursorState } from './group-state.js'
import type { PartitionState, Position } from './topic-state.js'

/** The part of a partition that deletion looks at. */
export type Retained = Pick<PartitionState, 'startOffset' | 'sealedEnd' | 'endOffset' | 'chunks' | 'tail'>

export type RetentionReason = Extract<StartReason, 'age' | 'bytes' | 'acked' | 'lagDrop'>

/** The oldest chunks of a partition, which go for one and the same reason. */
export interface DueChunks {
  readonly chunks: number
  /** Behind the last of them. */
  readonly startOffset: number
  readonly bytes: number
  readonly reason: RetentionReason
}

export interface DueArgs {
  readonly options: TopicOptions
  /** Of the cursor that is furthest behind; undefined without cursors: then `untilAcked` takes nothing. */
  readonly slowest: number | undefined
  /** Broker time, milliseconds. */
  readonly now: number
  readonly chunksMax: number
}

/** The chunks that may go now; undefined when all are kept. */
export function dueIn(partition: Retained, args: DueArgs): DueChunks | undefined {
  const { chunks, tail } = partition
  const [oldest] = chunks
  if (oldest === undefined || !deletes(args.options)) return undefined
  let bytesFrom = needsBytes(args.options) ? bytesOf(chunks) : 0
  let due: DueChunks | undefined
  for (const { section } of chunks) {
    if (due !== undefined && due.chunks === args.chunksMax) break
    const size = sectionBytes(section)
    const behind = bytesFrom - size + tail.unsealedBytes
    const reason = reasonFor(section, { ...args, behind })
    if (reason === undefined || (due !== undefined && reason !== due.reason)) break
    due = {
      chunks: (due?.chunks ?? 0) + 1,
      startOffset: section.endOffset,
      bytes: (due?.bytes ?? 0) + size,
      reason,
    }
    bytesFrom -= size
  }
  return due
}

function reasonFor(
  { endOffset, maxAppendTime }: SectionRow,
  {
    options,
    slowest,
    now,
    behind,
  }: DueArgs & {
    /** Bytes of all that follows this chunk, sealed or not. */
    readonly behind: number
  },
): RetentionReason | undefined {
  const { maxAgeMs, maxBytes, untilAcked, maxLagBytes, onLag } = options
  if (untilAcked && slowest !== undefined && slowest >= endOffset) return 'acked'
  if (maxAgeMs !== null && maxAppendTime < now - maxAgeMs) return 'age'
  // What stays is never less than was asked for, and at most a chunk and the unsealed records more.
  if (maxBytes !== null && behind >= maxBytes) return 'bytes'
  // A cursor keeps its newest `maxLagBytes`, and no more.
  const isBounded = untilAcked && slowest !== undefined && onLag === 'drop' && maxLagBytes !== null
  return isBounded && behind >= maxLagBytes ? 'lagDrop' : undefined
}

/** Whether anything of the topic is ever deleted by itself. */
export const deletes = ({ maxAgeMs, maxBytes, untilAcked }: TopicOptions): boolean =>
  untilAcked || maxAgeMs !== null || maxBytes !== null

const needsBytes = ({ maxBytes, maxLagBytes, onLag }: TopicOptions): boolean =>
  maxBytes !== null || (maxLagBytes !== null && onLag === 'drop')

/** What a chunk file holds of one partition. */
export const sectionBytes = ({ byteStart, byteEnd, indexBytes }: SectionRow): number =>
  byteEnd - byteStart + indexBytes

export function bytesOf(chunks: readonly ChunkRow[]): number {
  let bytes = 0
  for (const { section } of chunks) bytes += sectionBytes(section)
  return bytes
}

/** The position that is furthest behind, with what the group that is being cut has decided. */
export function slowestOf(positions: Iterable<Position>): number | undefined {
  let slowest: number | undefined
  for (const position of positions) {
    const at =
      position instanceof CursorState ? Math.min(position.offset, position.cutOffset) : position.position
    if (slowest === undefined || at < slowest) slowest = at
  }
  return slowest
}

/** What moving a partition's start takes away. */
export function freedBy(
  { chunks, startOffset: before }: Pick<PartitionState, 'chunks' | 'startOffset'>,
  startOffset: number,
): { records: number; bytes: number; chunks: number } {
  const gone = chunks.filter(({ section }) => section.endOffset <= startOffset)
  const bytes = gone.reduce((sum, { section }) => sum + sectionBytes(section), 0)
  return { records: Math.max(0, startOffset - before), bytes, chunks: gone.length }
}

/** The cursors that still wanted something of what goes. One that lost records before is not told again. */
export function* passedBy(
  { cursors, startOffset: before }: Pick<PartitionState, 'cursors' | 'startOffset'>,
  startOffset: number,
): Generator<{ groupId: number; offset: number }> {
  for (const { groupId, position: offset } of cursors)
    if (offset >= before && offset < startOffset) yield { groupId, offset }
}

/** Stored bytes from `position` on; exact but for the chunk that holds it, of which it is a share by offsets. */
export function lagBytes({ startOffset, sealedEnd, chunks, tail }: Retained, position: number): number {
  const from = Math.max(position, startOffset)
  let bytes = 0
  for (let i = chunks.length - 1; i >= 0; i--) {
    const { section } = chunks[i] as ChunkRow
    const { baseOffset, endOffset } = section
    if (endOffset <= from) break
    const share = (endOffset - Math.max(from, baseOffset)) / (endOffset - baseOffset)
    bytes += sectionBytes(section) * share
  }
  if (from <= sealedEnd) return bytes + tail.unsealedBytes
  for (let i = tail.indexOf(from); i < tail.length; i++) bytes += tail.at(i)?.bytes ?? 0
  return bytes
}

/** Time that passed while the broker was not running does not count against anyone. */
export interface Uptime {
  readonly now: number
  /** When this run of the broker began. */
  readonly startedAt: number
  /** How long before that nothing was logged. */
  readonly downMs: number
}

/** How long a cursor has not moved. */
export const idleMs = ({ movedAt }: Pick<Position, 'movedAt'>, { now, startedAt, downMs }: Uptime): number =>
  Math.max(0, now - movedAt - (movedAt < startedAt ? downMs : 0))
