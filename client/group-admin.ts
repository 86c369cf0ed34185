import type { TopicId } from '../protocol/ids.js'
import type { GroupKind } from '../protocol/messages/group.js'
import {
  cursorsReset,
  deleteGroup,
  describeGroup,
  type GroupDescribed,
  type GroupsListed,
  groupDeleted,
  groupDescribed,
  groupsListed,
  listGroups,
  type RESET_TO,
  resetCursors,
} from '../protocol/messages/group-admin.js'
import type { CallOptions } from './admin.js'
import type { Connection } from './connection.js'
import { illegalArgument } from './errors.js'
import type { Metadata } from './metadata.js'
import { newRequestId } from './random.js'
import { request } from './request.js'
import type { AnyTopic } from './topic.js'

export interface GroupInfo {
  readonly name: string
  /** A consumer group, or a work queue. */
  readonly kind: GroupKind
  /** Connected or away. */
  readonly members: number
  /** Topics in which it has a cursor. */
  readonly topics: number
  /** Records that it has not acknowledged, over all partitions. */
  readonly lagRecords: number
}

export interface GroupMember {
  /** 32 hex digits; another one each time it joins anew. */
  readonly memberId: string
  readonly clientName: string
  /** false while it is away and may come back. */
  readonly connected: boolean
  /** How many are its own; of a work queue, from how many it has jobs. */
  readonly partitions: number
}

/** How far behind a group is in a partition. */
export interface Lag {
  readonly records: number
  readonly bytes: number
  /** How long the first record that is not acknowledged has been there; 0 when there is none. */
  readonly seconds: number
}

export interface GroupPartition {
  readonly topic: string
  readonly partition: number
  /** false: a member reads it, and nothing has been acknowledged; the rest is then what a cursor at the end has. */
  readonly hasCursor: boolean
  /** The next offset to acknowledge; of a work queue, the first that is not done. */
  readonly position: number
  readonly startOffset: number
  readonly endOffset: number
  readonly lag: Lag
  /** Whose it is; null: nobody's, or a work queue's. */
  readonly memberId: string | null
  /** Work queues: jobs that workers have. */
  readonly leased: number
  /** Work queues: jobs that came back and wait to be given out again. */
  readonly ready: number
  /** Broker time of the last move, milliseconds since 1970; 0: never. */
  readonly movedAt: number
}

export interface GroupDescription {
  readonly name: string
  readonly kind: GroupKind
  /** Whether it has members, connected or away. */
  readonly isActive: boolean
  readonly epoch: number
  readonly members: readonly GroupMember[]
  /** By topic, then partition. */
  readonly partitions: readonly GroupPartition[]
  /** Partitions that did not fit in the answer: describe the group topic by topic. */
  readonly partitionsLeft: number
  /** What it gave up, by topic. */
  readonly deadLetters: readonly {
    readonly topic: string
    readonly dlqTopic: string
    readonly records: number
  }[]
}

export interface DescribeGroupOptions extends CallOptions {
  /** Only of this topic. */
  readonly topic?: AnyTopic | string
}

export interface ResetGroupOptions extends CallOptions {
  /** The first record there is, the end, the first record appended at or after a date, or an offset (which needs `topic`). */
  readonly to: 'earliest' | 'latest' | Date | { readonly offset: number }
  /** Default: every topic in which the group has cursors. */
  readonly topic?: AnyTopic | string
  /** Of the topic; default all. */
  readonly partitions?: readonly number[]
  /** Only tell what would be done; default false. */
  readonly dryRun?: boolean
  /** Make cursors that are not there, and the group (a consumer group); default false: they are passed over. */
  readonly create?: boolean
}

export interface CursorReset {
  readonly topic: string
  readonly partition: number
  /** null: there was no cursor. */
  readonly from: number | null
  /** The next offset to read. */
  readonly to: number
}

export interface DeleteGroupOptions extends CallOptions {
  /** Only its cursors of this topic; default: the group and all it has, but not its dead letters. */
  readonly topic?: AnyTopic | string
}

/** Consumer groups and work queues, seen from outside: `client.groups`. */
export class GroupAdmin {
  readonly #connection: Connection
  readonly #metadata: Metadata

  /** @internal */
  constructor(connection: Connection, metadata: Metadata) {
    this.#connection = connection
    this.#metadata = metadata
  }

  /** All groups, by name. */
  async list(options: CallOptions = {}): Promise<GroupInfo[]> {
    const groups: GroupInfo[] = []
    let after: string | null = null
    do {
      const page: GroupsListed = await request(
        this.#connection,
        [listGroups, groupsListed],
        { after, limit: null },
        options,
      )
      groups.push(...page.groups)
      after = page.next
    } while (after !== null)
    return groups
  }

  /** A group with its members, cursors and lag. Rejects with UNKNOWN_GROUP, UNKNOWN_TOPIC. */
  async describe(name: string, options: DescribeGroupOptions = {}): Promise<GroupDescription> {
    const topicId = await this.#topicId(options.topic, options)
    const fields = { name, topicId }
    return describedGroup(await request(this.#connection, [describeGroup, groupDescribed], fields, options))
  }

  /**
   * Sets the cursors of a group that has no members, and returns where each was and is; of a work queue everything from there on
   * counts as never delivered. Rejects with GROUP_ACTIVE, UNKNOWN_GROUP, UNKNOWN_TOPIC, UNKNOWN_PARTITION, OFFSET_OUT_OF_RANGE
   * (details: startOffset, endOffset), ILLEGAL_ARGUMENT.
   */
  async reset(name: string, options: ResetGroupOptions): Promise<CursorReset[]> {
    const { topic, partitions, dryRun = false, create = false } = options
    if (topic === undefined && (partitions !== undefined || isOffset(options.to))) {
      throw illegalArgument('partitions and offsets are of a topic, and none is given')
    }
    const fields = {
      requestId: newRequestId(this.#connection.settings.random),
      group: name,
      topicId: await this.#topicId(topic, options),
      partitions: partitions === undefined ? null : [...partitions],
      ...placeOf(options.to),
      dryRun,
      create,
    }
    const isMutation = !dryRun
    const { parts } = await request(this.#connection, [resetCursors, cursorsReset], fields, {
      ...options,
      isMutation,
    })
    return parts
  }

  /** Deletes a group that has no members. Rejects with GROUP_ACTIVE, UNKNOWN_GROUP, UNKNOWN_TOPIC. */
  async delete(name: string, options: DeleteGroupOptions = {}): Promise<void> {
    const requestId = newRequestId(this.#connection.settings.random)
    const topicId = await this.#topicId(options.topic, options)
    const fields = { requestId, group: name, topicId }
    await request(this.#connection, [deleteGroup, groupDeleted], fields, { ...options, isMutation: true })
  }

  async #topicId(topic: AnyTopic | string | undefined, options: CallOptions): Promise<TopicId | null> {
    if (topic === undefined) return null
    const name = typeof topic === 'string' ? topic : topic.name
    return (await this.#metadata.describe(name, options)).topicId
  }
}

const isOffset = (to: ResetGroupOptions['to']): to is { readonly offset: number } =>
  typeof to === 'object' && !(to instanceof Date)

function placeOf(to: ResetGroupOptions['to']): { to: keyof typeof RESET_TO; value: number } {
  if (to === 'earliest' || to === 'latest') return { to, value: 0 }
  const [kind, value] =
    to instanceof Date ? (['time', to.getTime()] as const) : (['offset', to.offset] as const)
  if (!Number.isSafeInteger(value) || value < 0)
    throw illegalArgument(`a cursor cannot be set to ${kind} ${value}`)
  return { to: kind, value }
}

function describedGroup(answer: GroupDescribed): GroupDescription {
  const { name, kind, state, epoch, members, parts, partsLeft, deadLetters } = answer
  const partitions = parts.map(({ durableEnd, lagRecords, lagBytes, lagMs, ...part }) => ({
    ...part,
    endOffset: durableEnd,
    lag: { records: lagRecords, bytes: lagBytes, seconds: lagMs / 1_000 },
  }))
  const isActive = state === 'active'
  return { name, kind, isActive, epoch, members, partitions, partitionsLeft: partsLeft, deadLetters }
}
