import { Coordinator } from '../../broker/groups/coordinator.js'
import type { MemberLink } from '../../broker/groups/member-link.js'
import type { Clock } from '../../broker/platform/clock.js'
import { noFailpoints } from '../../broker/platform/failpoints.js'
import { MemoryMetrics } from '../../broker/platform/metrics.js'
import type { Random } from '../../broker/platform/random.js'
import type { Shard } from '../../broker/shard/shard.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import type { JoinGroup } from '../../protocol/messages/group.js'
import { decodeRecords } from '../../protocol/records.js'
import { FakeMemberLink } from './fake-member-link.js'

/** The groups of a test's shard, as a broker would run them. */
export function groupsOf(options: { shard: Shard; clock: Clock; random: Random }): Coordinator {
  return new Coordinator({
    ...options,
    metrics: new MemoryMetrics(),
    failpoints: noFailpoints,
    limits: { queueRangesMax: 1_000 },
    onWarning: () => {},
  })
}

export interface LeasedJob {
  readonly topicId: TopicId
  readonly partition: number
  readonly offset: number
  readonly leaseId: number
  readonly value: string
}

/** A worker's connection that takes what it is sent at once. */
export class WorkerLink extends FakeMemberLink implements MemberLink {
  readonly #onJob: (job: LeasedJob) => void

  constructor(onJob: (job: LeasedJob) => void) {
    super()
    this.#onJob = onJob
  }

  override deliver(...[head, payloads, release]: Parameters<MemberLink['deliver']>): void {
    const { topicId, partition, leaseId } = head
    const bytes = new Uint8Array(Buffer.concat(payloads))
    let at = 0
    for (const { baseOffset, recordCount, payloadBytes } of head.batches) {
      for (const { offsetDelta, value } of decodeRecords(
        bytes.subarray(at, at + payloadBytes),
        recordCount,
      )) {
        this.#onJob({ topicId, partition, leaseId, offset: baseOffset + offsetDelta, value: String(value) })
      }
      at += payloadBytes
    }
    release()
  }
}

/** JOIN_GROUP as most members send it. */
export function joining(
  fields: Pick<JoinGroup, 'group' | 'kind' | 'memberId' | 'topicIds'> & Partial<JoinGroup>,
): Omit<JoinGroup, 'correlationId'> {
  return {
    attempt: 1,
    ifNoCursor: 'earliest',
    sessionTimeoutMs: 1_000,
    leaseMs: fields.kind === 'queue' ? 30_000 : 0,
    maxDeliveries: fields.kind === 'queue' ? 5 : 0,
    prefetch: fields.kind === 'queue' ? 10 : 0,
    held: [],
    heldLeases: [],
    ...fields,
  }
}

export const testMemberId = (n: number): MemberId => n.toString(16).padStart(32, '0') as MemberId
