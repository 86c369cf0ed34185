import type { TopicId } from '../../protocol/ids.js'
import type { GroupSide, MemberInfo } from './group-side.js'
import { partOf } from './part.js'
import type { QueueCoordinator } from './queue-coordinator.js'

/** Who is in the work queues, as administration asks for it. */
export class QueueMembers implements GroupSide {
  readonly #queues: QueueCoordinator

  constructor(queues: QueueCoordinator) {
    this.#queues = queues
  }

  isActive(groupId: number): boolean {
    return this.#queues.queue(groupId)?.isActive ?? false
  }

  /** `partitions`: those from which a member has jobs. */
  members(groupId: number): MemberInfo[] {
    const running = this.#queues.queue(groupId)
    if (running === undefined) return []
    const leased = new Set<string>()
    const counts = new Map<string, number>()
    for (const { queue } of running.partitions) {
      for (const { memberId } of queue?.ranges ?? []) {
        if (queue === undefined || memberId === null) continue
        const key = `${memberId}/${partOf(queue.topicId, queue.partition)}`
        if (leased.has(key)) continue
        leased.add(key)
        counts.set(memberId, (counts.get(memberId) ?? 0) + 1)
      }
    }
    return [...running.members].map(([memberId, { link }]) => ({
      memberId,
      clientName: link?.clientName ?? '',
      connected: link !== undefined,
      partitions: counts.get(memberId) ?? 0,
    }))
  }

  topics(groupId: number): Iterable<TopicId> {
    return this.#queues.queue(groupId)?.topics ?? []
  }

  uses(groupId: number, topicId: TopicId): boolean {
    const running = this.#queues.queue(groupId)
    return running !== undefined && (running.opening.includes(topicId) || running.topics.has(topicId))
  }
}
