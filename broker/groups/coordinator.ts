import type { TopicId } from '../../protocol/ids.js'
import type { Ack } from '../../protocol/messages/ack.js'
import type { DeadLetter, DlqPurge, DlqReplay } from '../../protocol/messages/dead-letter.js'
import type { GroupJoined, GroupRevoked, JoinGroup } from '../../protocol/messages/group.js'
import type {
  CursorsReset,
  DeleteGroup,
  DescribeGroup,
  GroupDescribed,
  GroupsListed,
  ListGroups,
  ResetCursors,
} from '../../protocol/messages/group-admin.js'
import type { QueueCredit, QueueSettle, QueueSettled, QueueStarted } from '../../protocol/messages/queue.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import type { Shard } from '../shard/shard.js'
import { ConsumerCoordinator } from './consumer-coordinator.js'
import { DeadLetters } from './dead-letters.js'
import { EntrySlicer } from './entry-slice.js'
import { GroupAdmin } from './group-admin.js'
import { GroupDescriptions } from './group-descriptions.js'
import type { MemberLink, Membership } from './member-link.js'
import { PatientClock } from './patient-clock.js'
import { QueueCoordinator } from './queue-coordinator.js'
import { QueueMembers } from './queue-members.js'
import { Turns } from './turns.js'

type Body<Message> = Omit<Message, 'correlationId'>

export interface CoordinatorOptions {
  readonly shard: Shard
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  readonly limits: {
    /** Ranges of one partition of a work queue, past which it claims nothing new. */
    readonly queueRangesMax: number
  }
  /** Something went wrong that the groups get over by themselves. */
  readonly onWarning: (message: string, error: unknown) => void
}

/** How often members are looked at. */
const TICK_MS = 250
/** Entries that were inflated or searched for work queues. */
const SLICE_CACHE_BYTES_MAX = 16 * 1024 * 1024

/**
 * Consumer groups and work queues as sessions see them. Requests of one member take effect in the order in which they
 * come; joining, resetting and deleting a group happen one after the other.
 */
export class Coordinator {
  readonly #shard: Shard
  readonly #clock: Clock
  readonly #patience: PatientClock
  readonly #consumers: ConsumerCoordinator
  readonly #queues: QueueCoordinator
  readonly #letters: DeadLetters
  readonly #descriptions: GroupDescriptions
  readonly #admin: GroupAdmin
  readonly #sides: { readonly consumer: ConsumerCoordinator; readonly queue: QueueMembers }
  readonly #turns = new Turns()
  #timer: Timer

  constructor(options: CoordinatorOptions) {
    const { shard, clock, metrics, random, failpoints, limits } = options
    const patience = new PatientClock(clock)
    const slicer = new EntrySlicer({ cacheBytesMax: SLICE_CACHE_BYTES_MAX })
    const letters = new DeadLetters({ shard, slicer, random, metrics })
    const common = { clock, patience, metrics, failpoints, warn: options.onWarning }
    this.#shard = shard
    this.#clock = clock
    this.#patience = patience
    this.#letters = letters
    this.#consumers = new ConsumerCoordinator({ ...common, store: shard.groups })
    this.#queues = new QueueCoordinator({
      ...common,
      shard,
      slicer,
      letters,
      rangesMax: limits.queueRangesMax,
    })
    this.#sides = { consumer: this.#consumers, queue: new QueueMembers(this.#queues) }
    const { state } = shard.groups
    this.#descriptions = new GroupDescriptions({ state, time: () => shard.time(), sides: this.#sides })
    this.#admin = new GroupAdmin({ shard, sides: this.#sides })
    shard.setLiveGroups((groupId, topicId) => this.isLive(groupId, topicId))
    this.#timer = this.#tickLater()
    metrics.gauge('groups', () => state.groups.size)
    metrics.gauge('groupMembers', () => this.#members())
    for (const [name, of] of [
      ['lagRecordsMax', 'records'],
      ['lagBytesMax', 'bytes'],
      ['lagMsMax', 'ms'],
    ] as const)
      metrics.gauge(name, () => this.#descriptions.largestLag()[of])
  }

  /** Whether a group has members, those included that may come back; with a topic, whether they read it. */
  isLive(groupId: number, topicId?: TopicId): boolean {
    const group = this.#shard.groups.state.groups.get(groupId)
    if (group === undefined) return false
    const side = this.#sides[group.kind]
    if (!side.isActive(groupId)) return false
    return topicId === undefined || side.uses(groupId, topicId)
  }

  join(args: Body<JoinGroup>, link: MemberLink): Promise<Body<GroupJoined>> {
    return this.#turns.run(args.group, async () => {
      if (args.kind === 'consumer') {
        return { ...(await this.#consumers.join(args, link)), time: this.#shard.time() }
      }
      link.whenClosed(() => this.#queues.closed(link))
      return this.#queues.join(args, link)
    })
  }

  leave(membership: Membership): Promise<void> {
    return this.#isQueue(membership) ? this.#queues.leave(membership) : this.#consumers.leave(membership)
  }

  revoked(args: GroupRevoked): void {
    this.#consumers.revoked(args)
  }

  async ack(args: Body<Ack>): Promise<{ index: number; code: string }[]> {
    const results = await this.#consumers.ack(args)
    return results.flatMap((code, index) => (code === null ? [] : [{ index, code }]))
  }

  async deadLetter(args: Body<DeadLetter>): Promise<{ dlqOffset: number }> {
    this.#consumers.checkMember(args)
    return this.#letters.ofConsumer(args)
  }

  queueCredit(args: QueueCredit): void {
    this.#queues.queueCredit(args)
  }

  queueStarted(args: QueueStarted): void {
    this.#queues.queueStarted(args)
  }

  queueSettle(args: Body<QueueSettle>): Promise<Body<QueueSettled>> {
    return this.#queues.queueSettle(args)
  }

  list(args: Body<ListGroups>): Body<GroupsListed> {
    return this.#descriptions.list(args)
  }

  async describe(args: Body<DescribeGroup>): Promise<Body<GroupDescribed>> {
    return this.#descriptions.describe(args)
  }

  reset(args: Body<ResetCursors>): Promise<Body<CursorsReset>> {
    return this.#turns.run(args.group, async () => {
      const reset = await this.#admin.reset(args)
      const group = this.#shard.groups.state.groupsByName.get(args.group)
      if (group?.kind === 'queue' && !args.dryRun) this.#queues.wasReset(group.groupId)
      return reset
    })
  }

  deleteGroup(args: Body<DeleteGroup>): Promise<void> {
    return this.#turns.run(args.group, () => this.#admin.deleteGroup(args))
  }

  dlqReplay(args: Body<DlqReplay>): Promise<{ replayed: number; left: number }> {
    return this.#letters.replay(args)
  }

  dlqPurge(args: Body<DlqPurge>): Promise<{ records: number }> {
    return this.#letters.purge(args)
  }

  /** Lets go of all members without a write: after a restart they find what they had. */
  close(): void {
    this.#timer.cancel()
    this.#consumers.close()
    this.#queues.close()
  }

  #isQueue({ groupId }: Membership): boolean {
    return this.#shard.groups.state.groups.get(groupId)?.kind === 'queue'
  }

  #members(): number {
    let members = 0
    for (const { groupId, kind } of this.#shard.groups.state.groups.values())
      members += this.#sides[kind].members(groupId).length
    return members
  }

  #tickLater(): Timer {
    const tick = (): void => {
      const heldUpMs = this.#patience.tick()
      this.#consumers.tick(heldUpMs)
      this.#queues.tick(heldUpMs)
      this.#timer = this.#tickLater()
    }
    return this.#clock.setTimer(tick, TICK_MS, { unref: true })
  }
}
