import { type ErrorCode, MillraceError } from '../../protocol/error-codes.js'
import type { RequestId, TopicId } from '../../protocol/ids.js'
import type { Metrics } from '../platform/metrics.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { liveGroup, ownedCursor } from './ack-check.js'
import { claim, groupClaim, groupNameClaim, NUMBER_OF_CURSORS, queueClaim } from './claims.js'
import type { CursorAssigned, CursorMove, CursorsDeleted, GroupCreated } from './command-codec/groups.js'
import type { Command } from './commands.js'
import type { Change, Decision } from './group-commit.js'
import { checkName, knownPartition, livePartition, namedGroup, placeIn } from './group-lookups.js'
import type {
  AssignmentMove,
  CursorDeadLetter,
  DeadLetterMove,
  GroupReset,
  GroupsView,
  NewGroup,
  QueueDecision,
  QueueOf,
  QueuePlace,
  ResetDone,
  ResetMove,
  TopicChange,
} from './group-requests.js'
import { openQueues } from './queue-opening.js'
import { QueueState } from './queue-state.js'
import { startClaim, startMove } from './start-move.js'
import {
  type CursorState,
  type GroupState,
  type PartitionKeyText,
  type PartitionName,
  partitionKey,
  type ShardState,
} from './state.js'
import type { CursorAck } from './write-unit.js'

export interface GroupLimits {
  readonly groupsMax: number
  readonly cursorsMax: number
}

export interface ShardGroupsOptions {
  readonly state: ShardState
  readonly limits: GroupLimits
  readonly metrics: Metrics
  readonly planted?: PlantedFault | undefined
  readonly submit: <T>(change: Change<T>) => Promise<T>
}

/**
 * The changes of groups, cursors and queues. Each is decided when its WAL group is cut, and each promise resolves once
 * it is durable and applied. Two changes of one group never meet in a WAL group: the second waits for the next.
 */
export class ShardGroups {
  readonly state: GroupsView
  readonly #state: ShardState
  readonly #options: ShardGroupsOptions
  readonly #topicListeners = new Set<(change: TopicChange) => void>()

  constructor(options: ShardGroupsOptions) {
    this.#options = options
    this.#state = options.state
    this.state = options.state
  }

  /**
   * The group of this name, made if there is none. Throws ILLEGAL_GROUP_NAME, GROUP_KIND_CONFLICT, LIMIT_REACHED.
   */
  createGroup(group: NewGroup): Promise<{ groupId: number; created: boolean }> {
    const state = this.#state
    return this.#submit<{ groupId: number; created: boolean }>(({ claimed }) => {
      const { name, kind, requestId } = group
      checkName(name)
      if (!claim(claimed, groupNameClaim(name))) return undefined
      const known = state.groupsByName.get(name)
      if (known !== undefined) {
        if (!claim(claimed, groupClaim(known.groupId))) return undefined
        liveGroup(state, known.groupId, kind)
        return { commands: [], result: { groupId: known.groupId, created: false } }
      }
      if (!claim(claimed, NUMBER_OF_GROUPS)) return undefined
      const command = this.#creation({ ...group, requestId })
      return { commands: [command], result: { groupId: command.groupId, created: true } }
    })
  }

  #creation({ name, kind, queue, requestId }: NewGroup): GroupCreated {
    const { groupsMax } = this.#options.limits
    if (this.#state.groups.size >= groupsMax)
      throw new MillraceError('LIMIT_REACHED', { message: `there are ${groupsMax} groups` })
    return { type: 'groupCreated', groupId: this.#state.nextGroupId, name, kind, queue, requestId }
  }

  /** Deletes a group with everything that it has. The caller knows that it has no members. Throws UNKNOWN_GROUP. */
  deleteGroup({ name, requestId }: { name: string; requestId: RequestId | null }): Promise<void> {
    const state = this.#state
    return this.#submit(({ claimed }) => {
      if (requestId !== null && !claim(claimed, `request ${requestId}`)) return undefined
      if (requestId !== null && state.requests.has(requestId)) return { commands: [], result: undefined }
      const group = namedGroup(state, name)
      if (!claim(claimed, groupNameClaim(name), groupClaim(group.groupId))) return undefined
      liveGroup(state, group.groupId)
      group.deleting = true
      for (const cursor of group.cursors.values()) cursor.cutMember = null
      return { commands: [{ type: 'groupDeleted', groupId: group.groupId, requestId }], result: undefined }
    })
  }

  /**
   * Gives partitions their owners, at the group's next epoch. `cursors` has, for each move, where its owner begins to
   * read; null where the partition is gone. Throws UNKNOWN_GROUP, GROUP_KIND_CONFLICT, LIMIT_REACHED.
   */
  assign(
    groupId: number,
    moves: readonly AssignmentMove[],
  ): Promise<{ epoch: number; cursors: (number | null)[] }> {
    const state = this.#state
    return this.#submit(({ claimed }) => {
      if (!claim(claimed, groupClaim(groupId))) return undefined
      const group = liveGroup(state, groupId, 'consumer')
      const epoch = group.epoch + 1
      const live = moves.map((move) => ({ move, partition: livePartition(state, move) }))
      const added = live.filter(
        ({ move, partition }) => partition !== undefined && !group.cursors.has(partitionKey(move)),
      )
      if (added.length > 0) {
        if (isStartMoving(claimed, moves) || !claim(claimed, NUMBER_OF_CURSORS)) return undefined
        this.#checkRoom(added.length)
      }
      const assigned: CursorAssigned[] = []
      const cursors = live.map(({ move, partition }) => {
        if (partition === undefined) return null
        const { topicId, memberId } = move
        const cursor = group.cursors.get(partitionKey(move))
        const newCursor = cursor === undefined ? placeIn(partition, move.ifNoCursor) : null
        assigned.push({ topicId, partition: partition.partition, memberId, newCursor })
        if (cursor === undefined) return newCursor
        cursor.cutMember = memberId
        cursor.cutEpoch = epoch
        return cursor.offset
      })
      if (assigned.length === 0) return { commands: [], result: { epoch: group.epoch, cursors } }
      return {
        commands: [{ type: 'groupAssigned', groupId, epoch, moves: assigned }],
        result: { epoch, cursors },
      }
    })
  }

  #checkRoom(added: number): void {
    const { cursorsMax } = this.#options.limits
    if (this.#state.cursorCount + this.#state.queueCount + added > cursorsMax)
      throw new MillraceError('LIMIT_REACHED', {
        message: `${added} more cursors would pass the limit of ${cursorsMax}`,
      })
  }

  /** Moves cursors forward: for each ack null, or why it was refused. What is acknowledged already is no refusal. */
  ack(groupId: number, acks: readonly Omit<CursorAck, 'groupId'>[]): Promise<(ErrorCode | null)[]> {
    const { metrics } = this.#options
    return this.#submit(({ claimed }) => {
      if (!claim(claimed, groupClaim(groupId))) return undefined
      const moves = new Map<PartitionKeyText, CursorMove>()
      const result = acks.map((ack) => this.#ackOne({ ...ack, groupId }, moves))
      metrics.count('acks', acks.length)
      const fenced = result.filter((code) => code === 'FENCED').length
      if (fenced > 0) metrics.count('acksFenced', fenced)
      if (moves.size === 0) return { commands: [], result }
      return { commands: [{ type: 'cursorsMoved', groupId, moves: [...moves.values()] }], result }
    })
  }

  #ackOne(ack: CursorAck, moves: Map<PartitionKeyText, CursorMove>): ErrorCode | null {
    let cursor: CursorState
    try {
      cursor = ownedCursor(this.#state, ack, this.#options.planted)
    } catch (error) {
      if (error instanceof MillraceError) return error.code
      throw error
    }
    if (ack.offset <= cursor.cutOffset) return null
    cursor.cutOffset = ack.offset
    const { topicId, partition, offset } = ack
    moves.set(partitionKey(ack), { topicId, partition, offset })
    return null
  }

  /**
   * Sets cursors, or queues, of a group that has no members: nobody owns them afterwards. Throws UNKNOWN_GROUP,
   * UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE, LIMIT_REACHED.
   */
  resetCursors(reset: GroupReset): Promise<ResetDone[]> {
    const state = this.#state
    const { metrics } = this.#options
    return this.#submit(({ claimed }) => {
      const { name, requestId } = reset
      if (!claim(claimed, `request ${requestId}`)) return undefined
      const before = state.requests.get(requestId)?.result as { moves?: readonly CursorMove[] } | undefined
      if (before?.moves !== undefined) {
        return {
          commands: [],
          result: before.moves.map(({ offset, ...at }) => ({ ...at, from: null, to: offset })),
        }
      }
      checkName(name)
      if (!claim(claimed, groupNameClaim(name))) return undefined
      const commands: Command[] = []
      const group = reset.create && !state.groupsByName.has(name) ? undefined : namedGroup(state, name)
      const groupId = group?.groupId ?? state.nextGroupId
      if (group === undefined) {
        if (!claim(claimed, NUMBER_OF_GROUPS)) return undefined
        commands.push(this.#creation({ name, kind: 'consumer', queue: null, requestId: null }))
      } else if (!claim(claimed, groupClaim(group.groupId))) return undefined
      else liveGroup(state, group.groupId)
      if (!claim(claimed, ...reset.moves.map((move) => queueClaim(groupId, move)))) return undefined
      if (isStartMoving(claimed, reset.moves)) return undefined
      const done = reset.moves.map((move) => resetOf(state, group, move))
      const added = done.filter(({ from }) => from === null).length
      if (added > 0) {
        if (!claim(claimed, NUMBER_OF_CURSORS)) return undefined
        this.#checkRoom(added)
      }
      const epoch = (group?.epoch ?? 0) + 1
      for (const { to, ...at } of done) {
        group?.queues.get(partitionKey(at))?.takeAll(state.applied.sequence + 1)
        const cursor = group?.cursors.get(partitionKey(at))
        if (cursor === undefined) continue
        cursor.cutOffset = to
        cursor.cutMember = null
        cursor.cutEpoch = epoch
      }
      const moves = done.map(({ topicId, partition, to }) => ({ topicId, partition, offset: to }))
      commands.push({ type: 'cursorsReset', groupId, epoch, moves, requestId })
      metrics.count('cursorsReset', moves.length)
      return { commands, result: done }
    })
  }

  /** Deletes cursors and queues of a group; those that are not there are no error. Throws UNKNOWN_GROUP. */
  deleteCursors(args: {
    groupId: number
    partitions: readonly PartitionName[]
    reason: CursorsDeleted['reason']
  }): Promise<void> {
    const { groupId, reason } = args
    return this.#submit(({ claimed }) => {
      if (!claim(claimed, groupClaim(groupId))) return undefined
      const group = liveGroup(this.#state, groupId)
      const partitions = args.partitions.filter(
        (at) => group.cursors.has(partitionKey(at)) || group.queues.has(partitionKey(at)),
      )
      if (partitions.length === 0) return { commands: [], result: undefined }
      if (!claim(claimed, ...partitions.map((at) => queueClaim(groupId, at)))) return undefined
      for (const at of partitions) {
        group.queues.get(partitionKey(at))?.takeAll(this.#state.applied.sequence + 1)
        const cursor = group.cursors.get(partitionKey(at))
        if (cursor !== undefined) cursor.cutMember = null
      }
      const names = partitions.map(({ topicId, partition }) => ({ topicId, partition }))
      return { commands: [{ type: 'cursorsDeleted', groupId, partitions: names, reason }], result: undefined }
    })
  }

  /** Makes the queues that a group lacks, all in one write. Throws as `queue` does. */
  openQueues(groupId: number, places: readonly QueuePlace[]): Promise<void> {
    const checkRoom = (added: number): void => this.#checkRoom(added)
    return this.#submit(({ claimed }) => openQueues(this.#state, { groupId, places }, { claimed, checkRoom }))
  }

  /**
   * Moves one partition of a work queue: `build` decides when the WAL group is cut, against the queue as it is then, and
   * does not change it. A queue that does not exist is shown as it would begin. Throws what `build` throws,
   * UNKNOWN_GROUP, GROUP_KIND_CONFLICT, UNKNOWN_TOPIC, UNKNOWN_PARTITION, LIMIT_REACHED.
   */
  queue<T>(at: QueueOf, build: (queue: QueueState, time: number) => QueueDecision<T>): Promise<T> {
    const state = this.#state
    const { groupId, topicId, partition: number, ifNoCursor } = at
    return this.#submit(({ claimed, time }) => {
      if (!claim(claimed, queueClaim(groupId, at))) return undefined
      const group = liveGroup(state, groupId, 'queue')
      const partition = knownPartition(state, at)
      const known = group.queues.get(partitionKey(at))
      if (known === undefined) {
        if (isStartMoving(claimed, [at]) || !claim(claimed, NUMBER_OF_CURSORS)) return undefined
        this.#checkRoom(1)
      }
      const floor = placeIn(partition, ifNoCursor)
      const queue = known ?? new QueueState({ groupId, topicId, partition: number, floor })
      const { move, appends, result } = build(queue, time)
      if (appends !== undefined) for (const batch of appends) knownPartition(state, batch)
      if (move === undefined) return { commands: [], ...(appends && { appends }), result }
      queue.take(move, state.applied.sequence + 1)
      const command = { type: 'queueMoved' as const, groupId, topicId, partition: number, ...move }
      return { commands: [command], ...(appends && { appends }), result }
    }, at.appendBytes)
  }

  /**
   * Writes a dead letter of a consumer group and moves the cursor past the record, as one. A retry gets the first
   * answer. Throws as an ack does, ALREADY_ACKED, UNKNOWN_TOPIC.
   */
  deadLetter({ requestId, ack, letter }: CursorDeadLetter): Promise<{ offset: number }> {
    const state = this.#state
    return this.#submit(({ claimed }) => {
      if (!claim(claimed, groupClaim(ack.groupId), `request ${requestId}`)) return undefined
      const before = state.answers.get(requestId)?.result as { offset?: number } | undefined
      if (before?.offset !== undefined) return { commands: [], result: { offset: before.offset } }
      if (before !== undefined)
        throw new MillraceError('ILLEGAL_ARGUMENT', {
          message: 'the request id was used for another request',
        })
      const cursor = ownedCursor(state, ack, this.#options.planted)
      if (ack.offset <= cursor.cutOffset) throw new MillraceError('ALREADY_ACKED')
      const { assignedEnd } = knownPartition(state, letter)
      cursor.cutOffset = ack.offset
      const { groupId, topicId, partition, offset } = ack
      const result = { offset: assignedEnd }
      return {
        commands: [
          { type: 'cursorsMoved', groupId, moves: [{ topicId, partition, offset }] },
          { type: 'answered', requestId, result },
        ],
        appends: [letter],
        result,
      }
    }, letter.payload.length)
  }

  /**
   * Takes the oldest dead letters out of their topic, as one with writing them elsewhere. False: another move was first,
   * and nothing was done. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION.
   */
  moveDeadLetters(args: DeadLetterMove): Promise<boolean> {
    const { batches, requestId, from, to } = args
    const appendBytes = batches.reduce((bytes, { payload }) => bytes + payload.length, 0)
    return this.#submit(({ claimed }) => {
      const state = this.#state
      if (!claim(claimed, startClaim(args), `request ${requestId}`)) return undefined
      const partition = knownPartition(state, args)
      for (const batch of batches) knownPartition(state, batch)
      if (partition.startOffset !== from || to <= from || to > partition.endOffset)
        return { commands: [], result: false }
      const command = startMove(partition, { startOffset: to, reason: 'deadLetters', requestId })
      return { commands: [command], appends: batches, result: true }
    }, appendBytes)
  }

  /** Calls back after a topic was created or deleted; returns how to stop that. */
  onTopicChange(listener: (change: TopicChange) => void): () => void {
    this.#topicListeners.add(listener)
    return () => void this.#topicListeners.delete(listener)
  }

  /** For the shard: these commands were applied. */
  applied(commands: Iterable<{ readonly type?: string; readonly topicId?: TopicId }>): void {
    if (this.#topicListeners.size === 0) return
    for (const { type, topicId } of commands) {
      if (topicId === undefined || (type !== 'topicCreated' && type !== 'topicDeleted')) continue
      const change = { type: type === 'topicCreated' ? ('created' as const) : ('deleted' as const), topicId }
      for (const listener of this.#topicListeners) queueMicrotask(() => listener(change))
    }
  }

  #submit<T>(
    decide: (at: { time: number; claimed: Set<string> }) => Decision<T> | undefined,
    appendBytes = 0,
  ): Promise<T> {
    return this.#options.submit({ decide, appendBytes })
  }
}

const NUMBER_OF_GROUPS = 'number of groups'

/** A deletion that is being written would leave a new place below the start: it is chosen when that is known. */
const isStartMoving = (claimed: ReadonlySet<string>, moves: readonly PartitionName[]): boolean =>
  moves.some((move) => claimed.has(startClaim(move)))

function resetOf(state: ShardState, group: GroupState | undefined, move: ResetMove): ResetDone {
  const { topicId, partition: number } = move
  const partition = knownPartition(state, move)
  const { startOffset, endOffset } = partition
  const to = typeof move.to === 'string' ? placeIn(partition, move.to) : move.to.offset
  if (to < startOffset || to > endOffset)
    throw new MillraceError('OFFSET_OUT_OF_RANGE', {
      message: `offset ${to} is outside ${startOffset} to ${endOffset}`,
      details: { startOffset, endOffset },
    })
  const key = partitionKey(move)
  const from = group?.cursors.get(key)?.offset ?? group?.queues.get(key)?.floor ?? null
  return { topicId, partition: number, from, to }
}
