import { deadLetterTopicName } from '../../protocol/dead-letters.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type {
  DescribeGroup,
  GroupDescribed,
  GroupsListed,
  ListGroups,
} from '../../protocol/messages/group-admin.js'
import type { GroupsView, GroupView, TopicView } from '../shard/group-requests.js'
import type { PartitionName, PartitionState } from '../shard/state.js'
import type { GroupSides } from './group-side.js'
import { type Lag, lagOf } from './lag.js'
import { type Part, partOf, placeOf } from './part.js'

type Body<Message> = Omit<Message, 'correlationId'>
type PartDescribed = GroupDescribed['parts'][number]

/** Where a group stands: from the applied state and who is connected, without a read from disk. */
export class GroupDescriptions {
  readonly #state: GroupsView
  readonly #time: () => number
  readonly #sides: GroupSides

  /** `time`: broker time. */
  constructor(options: { state: GroupsView; time: () => number; sides: GroupSides }) {
    this.#state = options.state
    this.#time = options.time
    this.#sides = options.sides
  }

  /** In the order of their names. */
  list({ after, limit }: Body<ListGroups>): Body<GroupsListed> {
    const { groupsByName } = this.#state
    const names = [...groupsByName.keys()].filter((name) => after === null || name > after).sort()
    const page = names.slice(0, Math.max(1, limit ?? HARD_LIMITS.groupsPerPageMax))
    const groups = page.map((name) => this.#summary(groupsByName.get(name) as GroupView))
    return { groups, next: page.length < names.length ? (page.at(-1) ?? null) : null }
  }

  /** Throws UNKNOWN_GROUP. */
  describe({ name, topicId }: Body<DescribeGroup>): Body<GroupDescribed> {
    const group = groupNamed(this.#state, name)
    const { groupId, kind, epoch } = group
    const { partsPerFrameMax } = HARD_LIMITS
    const side = this.#sides[kind]
    const places = this.#places(group).filter((place) => topicId === null || place.topicId === topicId)
    return {
      name,
      kind,
      state: side.isActive(groupId) ? 'active' : 'empty',
      epoch,
      members: side.members(groupId).slice(0, partsPerFrameMax),
      parts: places.slice(0, partsPerFrameMax).flatMap((place) => this.#part(group, place)),
      partsLeft: Math.max(0, places.length - partsPerFrameMax),
      deadLetters: this.#deadLetters(group, places),
    }
  }

  #summary(group: GroupView): GroupsListed['groups'][number] {
    const { groupId, name, kind } = group
    const places = [...group.cursors.keys(), ...group.queues.keys()].map(placeOf)
    let lagRecords = 0
    for (const place of places) {
      const { startOffset, endOffset } = this.#partition(place) ?? { startOffset: 0, endOffset: 0 }
      const position = positionOf(group, partOf(place.topicId, place.partition)) ?? endOffset
      lagRecords += Math.max(0, endOffset - Math.max(position, startOffset))
    }
    const topics = new Set(places.map(({ topicId }) => topicId)).size
    return { name, kind, members: this.#sides[kind].members(groupId).length, topics, lagRecords }
  }

  /** Over all groups and partitions, each measure for itself. */
  largestLag(): Lag {
    const now = this.#time()
    const largest = { records: 0, bytes: 0, ms: 0 }
    for (const topic of this.#state.topics.values()) {
      for (const partition of topic.partitions) {
        for (const { position } of partition.cursors) {
          const { records, bytes, ms } = lagOf(partition, position, now)
          largest.records = Math.max(largest.records, records)
          largest.bytes = Math.max(largest.bytes, bytes)
          largest.ms = Math.max(largest.ms, ms)
        }
      }
    }
    return largest
  }

  /** Where the group has a position or would have one as soon as it is assigned; by topic name, then partition. */
  #places(group: GroupView): PartitionName[] {
    const parts = new Set<Part>([...group.cursors.keys(), ...group.queues.keys()])
    for (const topicId of this.#sides[group.kind].topics(group.groupId)) {
      const { partitions = [] } = this.#state.topics.get(topicId) ?? {}
      for (const { partition } of partitions) parts.add(partOf(topicId, partition))
    }
    const named = [...parts].map(placeOf).flatMap((place) => {
      const name = this.#state.topics.get(place.topicId)?.row.name
      return name === undefined ? [] : [{ place, name }]
    })
    named.sort((a, b) =>
      a.name === b.name ? a.place.partition - b.place.partition : a.name < b.name ? -1 : 1,
    )
    return named.map(({ place }) => place)
  }

  #part(group: GroupView, place: PartitionName): PartDescribed[] {
    const topic = this.#state.topics.get(place.topicId) as TopicView
    const partition = this.#partition(place)
    if (partition === undefined) return []
    const key = partOf(place.topicId, place.partition)
    const { startOffset, endOffset: durableEnd } = partition
    const cursor = group.cursors.get(key)
    const queue = group.queues.get(key)
    const known = positionOf(group, key)
    const position = known ?? durableEnd
    const lag = lagOf(partition, position, this.#time())
    return [
      {
        topic: topic.row.name,
        partition: place.partition,
        hasCursor: known !== undefined,
        position,
        startOffset,
        durableEnd,
        lagRecords: lag.records,
        lagBytes: lag.bytes,
        lagMs: lag.ms,
        memberId: cursor?.ownerMember ?? null,
        ...(queue?.sizes() ?? { leased: 0, ready: 0 }),
        movedAt: (cursor ?? queue)?.movedAt ?? 0,
      },
    ]
  }

  #deadLetters(group: GroupView, places: readonly PartitionName[]): GroupDescribed['deadLetters'] {
    const topicIds = new Set(places.map(({ topicId }) => topicId))
    return [...topicIds].slice(0, HARD_LIMITS.groupTopicsMax).flatMap((topicId) => {
      const topic = this.#state.topics.get(topicId)?.row.name as string
      const dlqTopic = deadLetterTopicName(topic, group.name)
      const letters = this.#state.topicsByName.get(dlqTopic)
      if (letters === undefined) return []
      let records = 0
      for (const { startOffset, endOffset } of letters.partitions) records += endOffset - startOffset
      return [{ topic, dlqTopic, records }]
    })
  }

  #partition({ topicId, partition }: PartitionName): PartitionState | undefined {
    return this.#state.topics.get(topicId)?.partitions[partition]
  }
}

/** Throws UNKNOWN_GROUP. */
export function groupNamed(state: GroupsView, name: string): GroupView {
  const group = state.groupsByName.get(name)
  if (group === undefined)
    throw new MillraceError('UNKNOWN_GROUP', { message: `there is no group "${name}"` })
  return group
}

/** Where the group stands in a partition; undefined where it never was. */
export const positionOf = (group: GroupView, part: Part): number | undefined =>
  group.cursors.get(part)?.offset ?? group.queues.get(part)?.position

/** The topics in which the group has a position. */
export const topicsOf = (group: GroupView): TopicId[] => [
  ...new Set([...group.cursors.keys(), ...group.queues.keys()].map((part) => placeOf(part).topicId)),
]
