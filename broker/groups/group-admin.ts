import { retryTopicName } from '../../protocol/dead-letters.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import { HARD_LIMITS } from '../../protocol/limits.js'
import type { CursorsReset, DeleteGroup, ResetCursors } from '../../protocol/messages/group-admin.js'
import type { GroupView, ResetMove, TopicView } from '../shard/group-requests.js'
import type { Shard } from '../shard/shard.js'
import type { ShardGroups } from '../shard/shard-groups.js'
import type { PartitionName, PartitionState } from '../shard/state.js'
import { groupNamed, positionOf, topicsOf } from './group-descriptions.js'
import type { GroupSides } from './group-side.js'
import { partOf } from './part.js'

type Body<Message> = Omit<Message, 'correlationId'>

/** What administration needs of the shard. */
export type AdminShard = Pick<Shard, 'offsetAtTime'> & {
  readonly groups: Pick<ShardGroups, 'state' | 'resetCursors' | 'deleteCursors' | 'deleteGroup'>
}

/** Changes groups that have no members. Nobody may join the group meanwhile. */
export class GroupAdmin {
  readonly #shard: AdminShard
  readonly #sides: GroupSides

  constructor(options: { shard: AdminShard; sides: GroupSides }) {
    this.#shard = options.shard
    this.#sides = options.sides
  }

  /**
   * Rejects with UNKNOWN_GROUP, UNKNOWN_TOPIC, UNKNOWN_PARTITION, GROUP_ACTIVE, ILLEGAL_ARGUMENT, ILLEGAL_GROUP_NAME,
   * OFFSET_OUT_OF_RANGE, LIMIT_REACHED.
   */
  async reset(args: Body<ResetCursors>): Promise<Body<CursorsReset>> {
    const { requestId, group: name, create, dryRun } = args
    const { groups } = this.#shard
    const group = create ? groups.state.groupsByName.get(name) : groupNamed(groups.state, name)
    const places = this.#placesToReset(group, args)
    const moves = await Promise.all(places.map((place) => this.#moveOf(place, args)))
    if (group !== undefined) this.#checkEmpty(group)
    if (dryRun) return { parts: moves.map((move) => this.#wouldReset(group, move)) }
    const done = await groups.resetCursors({ requestId, name, moves, create })
    return { parts: done.map(({ from, to, ...place }) => ({ ...this.#placeNamed(place), from, to })) }
  }

  /** The group, or its positions in one topic. Rejects with UNKNOWN_GROUP, UNKNOWN_TOPIC, GROUP_ACTIVE. */
  async deleteGroup({ requestId, group: name, topicId }: Body<DeleteGroup>): Promise<void> {
    const { groups } = this.#shard
    const group = groups.state.groupsByName.get(name)
    // Perhaps a retry of what is done.
    if (group === undefined) return groups.deleteGroup({ name, requestId })
    this.#checkEmpty(group)
    if (topicId === null) return groups.deleteGroup({ name, requestId })
    const partitions = this.#partitionsOf(topicId).map(nameOnly)
    return groups.deleteCursors({ groupId: group.groupId, partitions, reason: 'asked' })
  }

  #checkEmpty({ groupId, name, kind }: GroupView): void {
    if (this.#sides[kind].isActive(groupId))
      throw new MillraceError('GROUP_ACTIVE', { message: `group "${name}" has members` })
  }

  #placesToReset(group: GroupView | undefined, args: Body<ResetCursors>): PartitionName[] {
    const { topicId, partitions, create, group: name } = args
    if (topicId === null && (group === undefined || partitions !== null))
      throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'name the topic' })
    const topicIds = topicId === null && group !== undefined ? this.#ownTopics(group) : [topicId as TopicId]
    const places = topicIds.flatMap((each) => this.#partitionsOf(each))
    const hasPosition = ({ topicId: id, partition }: PartitionName): boolean =>
      group !== undefined && positionOf(group, partOf(id, partition)) !== undefined
    if (partitions === null) {
      const found = places.filter((place) => create || hasPosition(place))
      if (found.length <= HARD_LIMITS.partsPerFrameMax) return found.map(nameOnly)
      throw new MillraceError('ILLEGAL_ARGUMENT', {
        message: `${found.length} partitions: reset topic by topic`,
      })
    }
    return [...new Set(partitions)].map((partition) => {
      const place = places[partition]
      if (place === undefined) throw new MillraceError('UNKNOWN_PARTITION')
      if (create || hasPosition(place)) return nameOnly(place)
      const message = `group "${name}" has no cursor in partition ${partition}`
      throw new MillraceError('ILLEGAL_ARGUMENT', { message })
    })
  }

  /** Where the group has positions, but for its retry topics: what was given up is not the topic's history. */
  #ownTopics(group: GroupView): TopicId[] {
    const { topics, topicsByName } = this.#shard.groups.state
    const ids = topicsOf(group)
    const retries = new Set(
      ids.map(
        (id) => topicsByName.get(retryTopicName(topics.get(id)?.row.name ?? '', group.name))?.row.topicId,
      ),
    )
    return ids.filter((id) => !retries.has(id))
  }

  async #moveOf(place: PartitionName, { to, value }: Body<ResetCursors>): Promise<ResetMove> {
    switch (to) {
      case 'offset':
        return { ...place, to: { offset: value } }
      case 'time':
        return { ...place, to: { offset: await this.#shard.offsetAtTime({ ...place, time: value }) } }
      default:
        return { ...place, to }
    }
  }

  #wouldReset(group: GroupView | undefined, { to, ...place }: ResetMove): CursorsReset['parts'][number] {
    const { startOffset, endOffset } = this.#topic(place.topicId).partitions[
      place.partition
    ] as PartitionState
    const offset = typeof to === 'object' ? to.offset : to === 'earliest' ? startOffset : endOffset
    if (offset < startOffset || offset > endOffset)
      throw new MillraceError('OFFSET_OUT_OF_RANGE', {
        message: `offset ${offset} is outside ${startOffset} to ${endOffset}`,
        details: { startOffset, endOffset },
      })
    const from = group && positionOf(group, partOf(place.topicId, place.partition))
    return { ...this.#placeNamed(place), from: from ?? null, to: offset }
  }

  #placeNamed({ topicId, partition }: PartitionName): { topic: string; partition: number } {
    return { topic: this.#shard.groups.state.topics.get(topicId)?.row.name ?? '', partition }
  }

  #partitionsOf(topicId: TopicId): readonly PartitionState[] {
    return this.#topic(topicId).partitions
  }

  #topic(topicId: TopicId): TopicView {
    const topic = this.#shard.groups.state.topics.get(topicId)
    if (topic === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    return topic
  }
}

const nameOnly = ({ topicId, partition }: PartitionName): PartitionName => ({ topicId, partition })
