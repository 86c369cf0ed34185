import { claim, groupClaim, groupNameClaim, queueClaim } from './claims.js'
import type { Command } from './commands.js'
import type { Change } from './group-commit.js'
import { askedOnce, type IsLive } from './lag-watch.js'
import { QUEUE_REASON, type QueueState } from './queue-state.js'
import { idleMs, type Uptime } from './retention.js'
import { type GroupState, partitionKey, type ShardState, type TopicState } from './state.js'
import type { Position } from './topic-state.js'

type Held = Position & { readonly topicId: TopicState['row']['topicId']; readonly partition: number }

export interface CursorExpiryOptions {
  readonly state: ShardState
  readonly submit: <T>(change: Change<T>) => Promise<T>
  readonly isLive: IsLive
  /** A cursor was deleted because nobody used it. */
  readonly expired: (at: { group: string; topic: string; partition: number }) => void
}

/** A cursor in use is noted to be so often within `cursorIdleMs`: its members have the rest of it to come back. */
const NOTES_PER_IDLE = 4
/** A group that never had a cursor, or has none any more, is kept for so long. */
const EMPTY_GROUP_MS = 7 * 24 * 3_600_000
/** Cursors in one command. */
const CURSORS_MAX = 10_000

/** Deletes the cursors and queues that nobody has used for their topic's `cursorIdleMs`, and groups that have none. */
export class CursorExpiry {
  readonly #options: CursorExpiryOptions

  constructor(options: CursorExpiryOptions) {
    this.#options = options
  }

  async run(uptime: Uptime): Promise<void> {
    const { state, submit } = this.#options
    const isLive = askedOnce(this.#options.isLive)
    const expired = new Map<GroupState, Held[]>()
    const used = new Map<GroupState, Held[]>()
    for (const topic of state.topics.values()) {
      const { cursorIdleMs } = topic.row.options
      if (cursorIdleMs === null) continue
      for (const { cursors, topicId, partition } of topic.partitions) {
        for (const cursor of cursors) {
          const group = state.groups.get(cursor.groupId)
          if (group === undefined) continue
          const idle = idleMs(cursor, uptime)
          const { groupId, position, movedAt } = cursor
          const held = { groupId, position, movedAt, topicId, partition }
          if (isLive(groupId, topicId)) {
            if (idle > cursorIdleMs / NOTES_PER_IDLE) add(used, group, held)
          } else if (idle > cursorIdleMs) add(expired, group, held)
        }
      }
    }
    const changes: Promise<unknown>[] = []
    for (const [group, cursors] of used)
      for (const some of inParts(cursors)) changes.push(submit(this.#note(group, some)))
    for (const [group, cursors] of expired)
      for (const some of inParts(cursors)) changes.push(this.#expire(group, some))
    for (const group of state.groups.values())
      if (this.#isForgotten(group, uptime.now)) changes.push(submit(this.#deleteGroup(group)))
    await Promise.all(changes)
  }

  /** Writes down that cursors are in use: they move to where they are. */
  #note(group: GroupState, chosen: readonly Held[]): Change<void> {
    const { groupId } = group
    return {
      decide: ({ claimed }) => {
        if (this.#isGone(group)) return { commands: [], result: undefined }
        const names = chosen.filter((at) => group.queues.has(partitionKey(at)))
        if (!claim(claimed, groupClaim(groupId), ...names.map((at) => queueClaim(groupId, at))))
          return undefined
        const moves = chosen.flatMap(({ topicId, partition }) => {
          const cursor = group.cursors.get(partitionKey({ topicId, partition }))
          return cursor === undefined ? [] : [{ topicId, partition, offset: cursor.cutOffset }]
        })
        const commands: Command[] = names.flatMap((at) => {
          const queue = group.queues.get(partitionKey(at))
          return queue === undefined ? [] : [noMove(queue)]
        })
        if (moves.length > 0) commands.push({ type: 'cursorsMoved', groupId, moves })
        return { commands, result: undefined }
      },
    }
  }

  async #expire(group: GroupState, chosen: readonly Held[]): Promise<void> {
    const { state, submit, isLive, expired } = this.#options
    const { groupId } = group
    const gone = await submit<readonly Held[]>({
      decide: ({ claimed }) => {
        const nothing = { commands: [], result: [] }
        if (this.#isGone(group)) return nothing
        if (!claim(claimed, groupClaim(groupId), ...chosen.map((at) => queueClaim(groupId, at))))
          return undefined
        // Without those that moved, or came back into use, since they were chosen.
        const idle = chosen.filter((at) => {
          const key = partitionKey(at)
          const now = group.cursors.get(key) ?? group.queues.get(key)
          return now?.movedAt === at.movedAt && !isLive(groupId, at.topicId)
        })
        if (idle.length === 0) return nothing
        for (const at of idle) {
          group.queues.get(partitionKey(at))?.takeAll(state.applied.sequence + 1)
          const cursor = group.cursors.get(partitionKey(at))
          if (cursor !== undefined) cursor.cutMember = null
        }
        const partitions = idle.map(({ topicId, partition }) => ({ topicId, partition }))
        return { commands: [{ type: 'cursorsDeleted', groupId, partitions, reason: 'idle' }], result: idle }
      },
    })
    for (const { topicId, partition } of gone)
      expired({ group: group.name, topic: state.topics.get(topicId)?.row.name ?? topicId, partition })
  }

  #deleteGroup(group: GroupState): Change<void> {
    const { groupId } = group
    return {
      decide: ({ claimed, time }) => {
        if (!claim(claimed, groupClaim(groupId), groupNameClaim(group.name))) return undefined
        if (this.#isGone(group) || !this.#isForgotten(group, time)) return { commands: [], result: undefined }
        group.deleting = true
        return { commands: [{ type: 'groupDeleted', groupId, requestId: null }], result: undefined }
      },
    }
  }

  #isGone(group: GroupState): boolean {
    return group.deleting || this.#options.state.groups.get(group.groupId) !== group
  }

  #isForgotten({ groupId, cursors, queues, activeAt }: GroupState, now: number): boolean {
    if (cursors.size > 0 || queues.size > 0 || activeAt >= now - EMPTY_GROUP_MS) return false
    return !this.#options.isLive(groupId)
  }
}

/** A move that changes nothing but the time of the last move. */
const noMove = ({ groupId, topicId, partition, floor }: QueueState): Command => ({
  type: 'queueMoved',
  groupId,
  topicId,
  partition,
  floor0: floor,
  frontier: 0,
  nextLeaseId: 0,
  claims: [],
  acked: [],
  returned: [],
  extended: [],
  reason: QUEUE_REASON.settled,
})

function add(to: Map<GroupState, Held[]>, group: GroupState, held: Held): void {
  const known = to.get(group)
  if (known === undefined) to.set(group, [held])
  else known.push(held)
}

function* inParts(cursors: readonly Held[]): Generator<readonly Held[]> {
  for (let i = 0; i < cursors.length; i += CURSORS_MAX) yield cursors.slice(i, i + CURSORS_MAX)
}
