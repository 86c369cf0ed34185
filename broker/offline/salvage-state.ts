import { type RequestId, requestIdFrom, type TopicId } from '../../protocol/ids.js'
import type { ManifestContents } from '../manifest/rows.js'
import { applyAppend, applyCommand, beginGroup } from '../shard/apply.js'
import type { Command } from '../shard/commands.js'
import { type PartitionState, ShardState, type TopicState } from '../shard/state.js'
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

const GROUP_IDS_SKIPPED = 10_000
/** Nobody asked for it, and nobody asks again. */
const NO_REQUEST = requestIdFrom('0'.repeat(32))

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
    const time = Math.max(state.time, piece.header?.time ?? 0)
    beginGroup(state, time)
    for (const entry of piece.appends) this.#append(entry, piece.isCertain)
    for (const row of piece.lost) this.#appendLost(row)
    for (const command of piece.commands) this.#command(command, time)
    state.time = Math.max(state.time, time)
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
    this.#settleStreams()
    if (this.lostGroups.length === 0) return
    state.nextProducerId += PRODUCER_IDS_SKIPPED
    this.#fenceAll()
  }

  /** Who owned and leased what, only the lost groups knew: nobody does now, and whoever thinks so is fenced. */
  #fenceAll(): void {
    const { state } = this
    for (const group of state.groups.values()) {
      group.epoch++
      for (const cursor of group.cursors.values()) cursor.own(null, group.epoch)
      for (const queue of group.queues.values()) queue.giveBackAll(state.time)
    }
    // Ids of groups whose creation is lost may be named by members still.
    state.nextGroupId += GROUP_IDS_SKIPPED
  }

  /** A fork whose source is lost begins where it left it; a deleted stream that no fork reads from any more goes. */
  #settleStreams(): void {
    const { state } = this
    for (const { stream } of state.topics.values()) {
      const fork = stream?.row.fork
      if (stream === undefined || fork == null) continue
      const source = state.topics.get(fork.topicId)
      if (source?.stream === undefined) stream.row = { ...stream.row, fork: null }
      else this.raiseEnd(source.partitions[0] as PartitionState, fork.endOffset)
    }
    const isLeftOver = ({ stream }: TopicState): boolean => stream?.row.deleted === true && stream.forks === 0
    for (;;) {
      const topic = [...state.topics.values()].find(isLeftOver)
      if (topic === undefined) return
      const { topicId } = topic.row
      applyCommand(state, { type: 'topicDeleted', topicId, requestId: NO_REQUEST }, state.time)
    }
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
    applyAppend(state, partition, header, entry.section)
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
    switch (command.type) {
      case 'topicCreated': {
        const namesake = state.topicsByName.get(command.name)
        // Its deletion stood in a group that is lost.
        if (namesake !== undefined) this.#delete(namesake.row.topicId, command.requestId, time)
        break
      }
      case 'groupCreated': {
        const namesake = state.groupsByName.get(command.name)
        if (namesake === undefined || namesake.groupId === command.groupId) break
        applyCommand(state, { type: 'groupDeleted', groupId: namesake.groupId, requestId: null }, time)
        break
      }
      case 'cursorsMoved':
      case 'cursorsReset':
        for (const move of command.moves) this.#raise(move, move.offset)
        break
      case 'groupAssigned':
        for (const move of command.moves) this.#raise(move, move.newCursor ?? 0)
        break
      case 'queueMoved':
        this.#raise(command, Math.max(command.floor0, command.frontier))
        break
      case 'startMoved':
        this.#raise(command, command.startOffset)
        break
      case 'chunkSealed':
        this.#sealed(command, time)
        return
    }
    applyCommand(state, command, time)
  }

  #sealed(command: Extract<Command, { type: 'chunkSealed' }>, time: number): void {
    const { state } = this
    const rows = command.rows.filter(({ topicId, partition, section }) => {
      const owner = state.partition(topicId, partition)
      return owner !== undefined && section.baseOffset >= owner.sealedEnd
    })
    applyCommand(state, { ...command, rows }, time)
    for (const { topicId, partition, section } of rows) {
      this.raiseEnd(state.partition(topicId, partition) as PartitionState, section.endOffset)
    }
  }

  /** What was read or acknowledged up to an offset had been written up to there. */
  #raise({ topicId, partition: number }: { topicId: TopicId; partition: number }, endOffset: number): void {
    const partition = this.state.partition(topicId, number)
    if (partition !== undefined) this.raiseEnd(partition, endOffset)
  }

  #delete(topicId: TopicId, requestId: RequestId, time: number): void {
    applyCommand(this.state, { type: 'topicDeleted', topicId, requestId }, time)
  }
}
