import { MillraceError } from '../../protocol/error-codes.js'
import type { RequestId } from '../../protocol/ids.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { liveGroup, ownedCursor } from './ack-check.js'
import type { AppendCommand } from './append-command.js'
import type { AppendBatch } from './batch-check.js'
import type { QueueMoved } from './command-codec/queues.js'
import type { Command } from './commands.js'
import { hasIds, type ResolvedIds } from './cut-ids.js'
import { type OffsetRange, OffsetRanges } from './offset-ranges.js'
import type { QueueState } from './queue-state.js'
import { type CutPlace, checkExpected, type Sequencer } from './sequencer.js'
import type { CursorState, PartitionState, ShardState } from './state.js'
import { StreamSequencer } from './stream-sequencer.js'
import type { StreamWrite } from './stream-write.js'
import { keptAnswer, unitAnswer } from './unit-answer.js'
import { type CursorAck, isJobAck, type JobAck, type UnitResult, type WriteUnit } from './write-unit.js'

/** What becomes of a unit: commands for one WAL record, or the answer that its first writing got or will get. */
export type SequencedUnit =
  | {
      readonly kind: 'write'
      readonly appends: readonly AppendCommand[]
      readonly commands: readonly Command[]
      readonly result: UnitResult
    }
  | { readonly kind: 'answered'; readonly result: UnitResult }
  /** The first one is in the group that is being cut: answer with it. */
  | { readonly kind: 'answeredInGroup'; readonly result: UnitResult }

/** A write that may be written: where, and without which records. */
interface CheckedWrite {
  readonly batch: AppendBatch
  readonly partition: PartitionState
  readonly baseOffset: number
  readonly ids: ResolvedIds | undefined
}

/** The acks of a unit that may be given: where each cursor goes, and which offsets of each queue are done. */
interface CheckedAcks {
  readonly cursors: Map<CursorState, number>
  readonly queues: Map<QueueState, OffsetRanges>
}

/**
 * Takes units of writes and acks into the group that is being cut. Every check of a unit comes before its first change:
 * a refusal leaves no trace, and after the last check there is only commit or death.
 */
export class UnitSequencer {
  readonly #state: ShardState
  readonly #sequencer: Sequencer
  readonly #streams: StreamSequencer
  readonly #planted: PlantedFault | undefined
  readonly #pending = new Map<RequestId, UnitResult>()

  constructor({
    state,
    sequencer,
    producersMax,
    planted,
  }: {
    state: ShardState
    sequencer: Sequencer
    producersMax: number
    planted?: PlantedFault | undefined
  }) {
    this.#state = state
    this.#planted = planted
    this.#sequencer = sequencer
    this.#streams = new StreamSequencer({ state, sequencer, producersMax })
  }

  /** Forgets the group that was cut: it is applied now. */
  reset(): void {
    this.#pending.clear()
  }

  /** Throws the reason for a refusal; then nothing was assigned and nothing acknowledged. */
  sequence(unit: WriteUnit, at: CutPlace): SequencedUnit {
    const { requestId, stream } = unit
    if (stream !== undefined) return this.#sequenceStream(stream, unit.writes, at)
    const kept = keptAnswer(this.#state.answers, unit)
    if (kept !== undefined) return { kind: 'answered', result: kept }
    const pending = this.#pending.get(requestId)
    if (pending !== undefined) return { kind: 'answeredInGroup', result: { ...pending, retried: true } }
    const acks = this.#checkAcks(unit, at.time)
    const check = (): CheckedWrite[] => this.#checkWrites(unit.writes, at.time)
    const writes = unit.writes.some(hasIds) ? this.#sequencer.ids.orNone(check) : check()

    const appends: AppendCommand[] = []
    for (const { batch, partition, ids } of writes) {
      if (ids?.isNothingNew) continue
      const omitted = ids?.omitted
      const section = hasIds(batch) ? this.#sequencer.section(batch, omitted) : undefined
      appends.push(this.#sequencer.assign(partition, batch, at, section))
    }
    const result: UnitResult = {
      appendTime: at.time,
      writes: writes.map(({ partition: { partition }, baseOffset, ids }) => {
        return { partition, baseOffset, duplicates: ids?.duplicates ?? null }
      }),
      retried: false,
    }
    this.#pending.set(requestId, result)
    const answered: Command = { type: 'answered', requestId, result: unitAnswer(result) }
    const moves = [...moveCursors(acks.cursors), ...this.#moveQueues(acks.queues)]
    const commands = this.#planted === 'answerApartFromData' ? moves : [...moves, answered]
    return { kind: 'write', appends, commands, result }
  }

  #sequenceStream(stream: StreamWrite, writes: readonly AppendBatch[], at: CutPlace): SequencedUnit {
    const { appends, commands, written } = this.#streams.sequence(stream, writes, at)
    const result: UnitResult = {
      appendTime: at.time,
      writes: [],
      retried: written.isDuplicate,
      stream: written,
    }
    if (appends.length === 0 && commands.length === 0) return { kind: 'answered', result }
    return { kind: 'write', appends, commands, result }
  }

  #checkAcks({ acks }: WriteUnit, time: number): CheckedAcks {
    const checked: CheckedAcks = { cursors: new Map(), queues: new Map() }
    for (const ack of acks) {
      if (isJobAck(ack)) this.#checkJobs(ack, checked.queues, time)
      else this.#checkCursor(ack, checked.cursors)
    }
    return checked
  }

  /** Only forward: an ack that moves nothing was given before, with the writes that belonged to it. */
  #checkCursor(ack: CursorAck, cursors: Map<CursorState, number>): void {
    const cursor = ownedCursor(this.#state, ack, this.#planted)
    if (ack.offset <= cursor.cutOffset) {
      throw new MillraceError('ALREADY_ACKED', {
        message: `the cursor is at ${cursor.cutOffset}, the ack is for ${ack.offset}`,
        details: { cursor: cursor.cutOffset },
      })
    }
    cursors.set(cursor, ack.offset)
  }

  #checkJobs(ack: JobAck, queues: Map<QueueState, OffsetRanges>, time: number): void {
    const group = liveGroup(this.#state, ack.groupId, 'queue')
    const queue = group.queues.get(`${ack.topicId}/${ack.partition}`)
    if (queue === undefined) throw new MillraceError('LEASE_LOST')
    const { leaseId, memberId } = ack
    const sequence = this.#state.applied.sequence + 1
    const done = queues.get(queue) ?? new OffsetRanges()
    for (const range of ack.ranges) {
      const held = { from: range.from, to: range.to, leaseId, memberId }
      if (!queue.isHeld(held, { time, sequence }) || done.overlaps(range)) throw leaseLost(range)
      done.add(range)
    }
    queues.set(queue, done)
  }

  /** Ids of writes are the group's from here on: the caller takes them back if a later one is refused. */
  #checkWrites(writes: readonly AppendBatch[], time: number): CheckedWrite[] {
    const { ids } = this.#sequencer
    const targets = writes.map((batch) => this.#sequencer.target(batch))
    /** The ends of partitions with the unit's own earlier writes. */
    const ends = new Map<PartitionState, number>()
    return writes.map((batch, i) => {
      const partition = targets[i] as PartitionState
      const baseOffset = ends.get(partition) ?? partition.assignedEnd
      if (batch.expectedOffset !== null) checkExpected(batch.expectedOffset, baseOffset)
      const resolved = hasIds(batch) ? ids.resolve(batch, { baseOffset, time }) : undefined
      if (!resolved?.isNothingNew) ends.set(partition, baseOffset + batch.recordCount)
      return { batch, partition, baseOffset, ids: resolved }
    })
  }

  #moveQueues(queues: Map<QueueState, OffsetRanges>): QueueMoved[] {
    return [...queues].map(([queue, done]) => {
      const { groupId, topicId, partition, floor: floor0, frontier, nextLeaseId } = queue
      const moved: QueueMoved = {
        type: 'queueMoved',
        ...{ groupId, topicId, partition, floor0, frontier, nextLeaseId },
        claims: [],
        acked: done.ranges,
        returned: [],
        extended: [],
        reason: 0,
      }
      queue.take(moved, this.#state.applied.sequence + 1)
      return moved
    })
  }
}

/** One command a group. */
function moveCursors(cursors: Map<CursorState, number>): Command[] {
  const groups = new Map<number, { topicId: CursorState['topicId']; partition: number; offset: number }[]>()
  for (const [cursor, offset] of cursors) {
    const { groupId, topicId, partition } = cursor
    cursor.cutOffset = offset
    const moves = groups.get(groupId) ?? []
    moves.push({ topicId, partition, offset })
    groups.set(groupId, moves)
  }
  return [...groups].map(([groupId, moves]) => ({ type: 'cursorsMoved', groupId, moves }))
}

const leaseLost = ({ from, to }: OffsetRange): MillraceError =>
  new MillraceError('LEASE_LOST', { message: `no lease on offsets ${from} to ${to} is held` })
