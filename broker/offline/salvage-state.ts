import type { RequestId, TopicId } from '../../protocol/ids.js'
import type { ManifestContents } from '../manifest/rows.js'
import { applyAppend, applyCommand } from '../shard/apply.js'
import type { Command } from '../shard/commands.js'
import { type PartitionState, ShardState } from '../shard/state.js'
import type { DirectoryRow } from '../wal/group.js'
import type { WalIdentity } from '../wal/position.js'
import { endOffsetOf, type FoundEntry } from './find-entries.js'
import type { DataFault } from './report.js'
import type { WalPiece } from './salvage-wal.js'

/** WAL groups beyond the manifest's that cannot be read, or not wholly. */
export interface LostGroups {
  readonly first: number
  readonly last: number
  readonly fault: DataFault | undefined
}

/** Ids that lost groups may have reserved are passed over: none is ever given twice. */
const PRODUCER_IDS_SKIPPED = 1_000_000

/**
 * A state made of what is left of a WAL. Unlike replay it goes on behind what is missing: offsets keep their places,
 * and what stood between them is found elsewhere or is lost.
 */
export class StateSalvage {
  readonly state: ShardState
  readonly lostGroups: LostGroups[] = []
  /** Records of topics whose creation is lost with the topic's name, by topic. */
  readonly orphans = new Map<TopicId, number>()
  #producerIdMax = 0

  constructor(identity: WalIdentity, contents: ManifestContents) {
    this.state = new ShardState(identity)
    this.state.load(contents)
  }

  /** Takes in the next piece of the WAL. */
  take(piece: WalPiece): void {
    const { state } = this
    const last = Math.max(piece.first, piece.last)
    state.shardEpoch = Math.max(state.shardEpoch, piece.header?.shardEpoch ?? 0)
    if (last <= state.applied.sequence) return
    const next = state.applied.sequence + 1
    if (piece.first > next) this.lostGroups.push({ first: next, last: piece.first - 1, fault: undefined })
    if (piece.fault !== undefined) this.lostGroups.push({ first: piece.first, last, fault: piece.fault })
    for (const entry of piece.appends) this.#append(entry, piece.isCertain)
    for (const row of piece.lost) this.#appendLost(row)
    for (const command of piece.commands) this.#command(command, piece.header?.time ?? state.time)
    state.time = Math.max(state.time, piece.header?.time ?? 0)
    state.applied = { sequence: last, headerCrc: piece.header?.headerCrc ?? state.applied.headerCrc }
  }

  /** Called once, behind the last piece: the WAL is known to have held all groups up to `sequence`. */
  finish(sequence: number): void {
    const { state } = this
    if (sequence > state.applied.sequence) {
      this.lostGroups.push({ first: state.applied.sequence + 1, last: sequence, fault: undefined })
      state.applied = { ...state.applied, sequence }
    }
    state.nextProducerId = Math.max(state.nextProducerId, this.#producerIdMax + 1)
    if (this.lostGroups.length > 0) state.nextProducerId += PRODUCER_IDS_SKIPPED
  }

  /** Whatever else is known to have been written: no offset below is ever given again. */
  raiseEnd(partition: PartitionState, endOffset: number): void {
    partition.endOffset = Math.max(partition.endOffset, endOffset)
  }

  #append(entry: FoundEntry, isCertain: boolean): void {
    const { state } = this
    const { header } = entry
    const partition = state.partition(header.topicId, header.partition)
    if (partition === undefined) {
      // What was only found may be left from a topic that was deleted long ago.
      if (isCertain) this.#orphan(header.topicId, header.recordCount)
      return
    }
    if (header.baseOffset < partition.endOffset) {
      if (isCertain) this.raiseEnd(partition, endOffsetOf(entry))
      return
    }
    partition.endOffset = header.baseOffset
    applyAppend(state, partition, header)
    state.time = Math.max(state.time, header.appendTime)
    this.#producerIdMax = Math.max(this.#producerIdMax, header.producerId)
    const named = state.producerNamesById.get(header.producerId)
    if (named !== undefined && named.producerEpoch < header.producerEpoch) {
      state.setProducerName({ ...named, producerEpoch: header.producerEpoch })
    }
    this.raiseEnd(partition, endOffsetOf(entry))
  }

  #appendLost({ topicId, partition: number, baseOffset, recordCount }: DirectoryRow): void {
    const partition = this.state.partition(topicId, number)
    if (partition === undefined) this.#orphan(topicId, recordCount)
    // Offsets are dense when they are appended.
    else this.raiseEnd(partition, baseOffset + recordCount)
  }

  #orphan(topicId: TopicId, records: number): void {
    this.orphans.set(topicId, (this.orphans.get(topicId) ?? 0) + records)
  }

  #command(command: Command, time: number): void {
    const { state } = this
    if (command.type === 'topicCreated') {
      const namesake = state.topicsByName.get(command.name)
      // Its deletion stood in a group that is lost.
      if (namesake !== undefined) this.#delete(namesake.row.topicId, command.requestId, time)
    }
    if (command.type !== 'chunkSealed') {
      applyCommand(state, command, time)
      return
    }
    const rows = command.rows.filter(({ topicId, partition, section }) => {
      const owner = state.partition(topicId, partition)
      return owner !== undefined && section.baseOffset >= owner.sealedEnd
    })
    applyCommand(state, { ...command, rows }, time)
    for (const { topicId, partition, section } of rows) {
      this.raiseEnd(state.partition(topicId, partition) as PartitionState, section.endOffset)
    }
  }

  #delete(topicId: TopicId, requestId: RequestId, time: number): void {
    applyCommand(this.state, { type: 'topicDeleted', topicId, requestId }, time)
  }
}
