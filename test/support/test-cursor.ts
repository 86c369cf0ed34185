import type { Shard } from '../../broker/shard/shard.js'
import { type MemberId, memberIdFrom, type TopicId } from '../../protocol/ids.js'
import { readAll } from './test-shard.js'

/** A consumer group of one member that owns one partition, without a coordinator. */
export class TestCursor {
  readonly groupId: number
  readonly #shard: Shard
  readonly #at: { topicId: TopicId; partition: number }
  readonly #memberId: MemberId
  readonly #epoch: number

  private constructor(
    shard: Shard,
    own: { groupId: number; at: { topicId: TopicId; partition: number }; memberId: MemberId; epoch: number },
  ) {
    this.#shard = shard
    this.groupId = own.groupId
    this.#at = own.at
    this.#memberId = own.memberId
    this.#epoch = own.epoch
  }

  static async join(
    shard: Shard,
    group: string,
    at: { topicId: TopicId; partition?: number; ifNoCursor?: 'earliest' | 'latest' },
  ): Promise<TestCursor> {
    const { topicId, partition = 0, ifNoCursor = 'earliest' } = at
    const { groupId } = await shard.groups.createGroup({
      name: group,
      kind: 'consumer',
      queue: null,
      requestId: null,
    })
    const memberId = memberIdFrom(groupId.toString(16).padStart(32, '0'))
    const { epoch } = await shard.groups.assign(groupId, [{ topicId, partition, memberId, ifNoCursor }])
    return new TestCursor(shard, { groupId, at: { topicId, partition }, memberId, epoch })
  }

  /** Undefined once the cursor is deleted. */
  get offset(): number | undefined {
    const { topicId, partition } = this.#at
    return this.#shard.groups.state.groups.get(this.groupId)?.cursors.get(`${topicId}/${partition}`)?.offset
  }

  /** Acknowledges everything below `offset`; resolves with the refusal, or null. */
  async ack(offset: number): Promise<string | null> {
    const ack = { ...this.#at, memberId: this.#memberId, epoch: this.#epoch, offset }
    const [refusal = null] = await this.#shard.groups.ack(this.groupId, [ack])
    return refusal
  }
}

/** What is sealed of a partition. */
export function sealedOf(shard: Shard, at: { topicId: TopicId; partition?: number }) {
  const partition = shard.groups.state.topics.get(at.topicId)?.partitions[at.partition ?? 0]
  const sections = (partition?.chunks ?? []).map(({ section }) => ({
    endOffset: section.endOffset,
    bytes: section.byteEnd - section.byteStart + section.indexBytes,
  }))
  return { sections, bytes: sections.reduce((sum, { bytes }) => sum + bytes, 0) }
}

/** The events of `_millrace.changes`, oldest first. */
export async function changesOf(shard: Shard): Promise<Record<string, unknown>[]> {
  const topic = shard.topicNamed('_millrace.changes')
  if (topic === undefined) throw new Error('there is no topic of changes')
  const { records } = await readAll(shard, topic.topicId)
  return records.map(({ value }) => JSON.parse(value) as Record<string, unknown>)
}
