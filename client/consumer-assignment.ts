import { MillraceError } from '../protocol/error-codes.js'
import type { TopicId } from '../protocol/ids.js'
import type { AssignedPart, GroupAssignment } from '../protocol/messages/group.js'
import type { CommitTracker } from './commit-tracker.js'
import type { Committer } from './committer.js'
import type { ConsumerMembership } from './consumer-membership.js'
import type { ConsumeSettings, RebalanceEvents } from './consumer-options.js'
import { ConsumerPartition, type PartitionHost, type TopicPartition } from './consumer-partition.js'
import type { EventListeners } from './events.js'
import type { Link } from './link.js'

export interface AssignmentOptions {
  readonly settings: ConsumeSettings
  readonly host: PartitionHost & {
    /** No more of it is given: what has not begun shall not begin. */
    stopped(partition: ConsumerPartition): void
    /** The consuming ends. */
    ended(error: MillraceError): void
  }
  readonly membership: ConsumerMembership
  readonly committer: Committer
  readonly events: EventListeners<RebalanceEvents>
  readonly newTracker: (offset: number) => CommitTracker
}

/** How long what is in hand may take when its partition is asked back. The broker waits half a second longer. */
const LET_GO_MS = 1_000

/** What a member has: it takes partitions over, hands them back, and loses them. */
export class ConsumerAssignment {
  readonly #options: AssignmentOptions
  readonly #partitions = new Map<string, ConsumerPartition>()

  constructor(options: AssignmentOptions) {
    this.#options = options
  }

  get partitions(): Iterable<ConsumerPartition> {
    return this.#partitions.values()
  }

  get names(): TopicPartition[] {
    return [...this.#partitions.values()].map(({ name }) => name)
  }

  held(): { topicId: TopicId; partition: number; epoch: number }[] {
    return [...this.#partitions.values()].map(({ topicId, partition, epoch }) => ({
      topicId,
      partition,
      epoch,
    }))
  }

  /** What the broker says is assigned and what it asks back. What was assigned before and is not named stays as it is. */
  take({ epoch, assigned, revoked }: GroupAssignment, link: Link): void {
    const asked = new Set(revoked.map(keyOf))
    const added: ConsumerPartition[] = []
    for (const part of assigned) {
      const known = this.#partitions.get(keyOf(part))
      if (known === undefined && asked.has(keyOf(part))) continue
      if (known?.epoch === part.epoch) continue
      if (known !== undefined) {
        // It was another's in between.
        this.#options.host.ended(known.lossError())
        return
      }
      const partition = this.#add(part)
      if (partition === undefined) return
      added.push(partition)
    }
    this.#share()
    for (const partition of added) partition.subscribe(link)
    if (added.length > 0) this.#tell('assigned', added)
    this.#handBack(revoked, epoch)
  }

  /** Undefined: the consuming ends. */
  #add(part: AssignedPart): ConsumerPartition | undefined {
    const { host, membership, settings, newTracker } = this.#options
    const topic = membership.topicOf(part.originTopicId ?? part.topicId)
    const place = { topic: part.name, partition: part.partition }
    if (topic === undefined) {
      const message = `topic "${part.name}" was assigned, which nobody has asked for`
      host.ended(new MillraceError('INTERNAL', { message, details: place }))
      return undefined
    }
    const { cursor, startOffset, durableEnd, lost } = part
    if (lost > 0 && settings.onLost === 'throw') {
      const message = `topic "${part.name}", partition ${part.partition}: ${lost} offsets were deleted before the group acknowledged them`
      const details = { ...place, startOffset, endOffset: durableEnd, lost }
      host.ended(new MillraceError('OFFSET_OUT_OF_RANGE', { message, details }))
      return undefined
    }
    const tracker = newTracker(cursor)
    const onOutOfRange = settings.onLost
    const creditBytes = this.#shareOf(this.#partitions.size + 1)
    const partition = new ConsumerPartition(
      { assigned: part, topic, tracker, creditBytes, onOutOfRange },
      host,
    )
    this.#partitions.set(keyOf(part), partition)
    return partition
  }

  /** Each has the same part of what may be held ahead. */
  #share(): void {
    const creditBytes = this.#shareOf(this.#partitions.size)
    for (const partition of this.#partitions.values()) partition.resize(creditBytes)
  }

  #shareOf(partitions: number): number {
    return Math.max(1, Math.floor(this.#options.settings.prefetchBytes / Math.max(1, partitions)))
  }

  #handBack(revoked: GroupAssignment['revoked'], epoch: number): void {
    const { host, membership } = this.#options
    const asked: ConsumerPartition[] = []
    const unknown: GroupAssignment['revoked'] = []
    for (const part of revoked) {
      const partition = this.#partitions.get(keyOf(part))
      if (partition === undefined) unknown.push(part)
      else if (partition.state === 'reading') asked.push(partition)
    }
    if (unknown.length > 0) membership.letGo(unknown, epoch)
    if (asked.length === 0) return
    for (const partition of asked) {
      partition.revoke()
      host.stopped(partition)
    }
    this.#tell('revoked', asked)
    this.#letGo(
      asked.filter(({ isIdle }) => isIdle),
      epoch,
    )
    for (const partition of asked) if (!partition.isIdle) this.#letGoLater(partition, epoch)
  }

  #letGoLater(partition: ConsumerPartition, epoch: number): void {
    const { clock } = this.#options.host.connection.settings
    const timer = clock.setTimer(() => this.#letGo([partition], epoch), LET_GO_MS)
    partition.losing.listen(() => timer.cancel())
    partition.whenIdle(() => this.#letGo([partition], epoch))
  }

  /** Its acks go first, so that they are done before it is another's. */
  #letGo(partitions: readonly ConsumerPartition[], epoch: number): void {
    const left = partitions.filter(({ state }) => state === 'revoking')
    if (left.length === 0) return
    this.#options.committer.send()
    this.#options.membership.letGo(left, epoch)
    for (const partition of left) {
      this.#forget(partition)
      partition.lose()
    }
    this.#share()
  }

  joined(link: Link): void {
    for (const partition of this.#partitions.values()) partition.subscribe(link)
  }

  /** What was to be handed back is as good as gone: the broker says anew what is whose. */
  linkDown(): void {
    const lost: ConsumerPartition[] = []
    for (const partition of this.#partitions.values()) {
      partition.linkDown()
      if (partition.state === 'revoking') lost.push(partition)
    }
    this.lose(lost)
  }

  /** They are gone, unasked. */
  lose(partitions: readonly ConsumerPartition[]): void {
    if (partitions.length === 0) return
    for (const partition of partitions) {
      this.#forget(partition)
      this.#options.host.stopped(partition)
      partition.lose()
    }
    this.#share()
    this.#tell('lost', partitions)
  }

  /** Everything is over; who waits for an ack waits in vain. */
  abandon(): void {
    for (const partition of this.#partitions.values()) partition.abandon()
    this.#partitions.clear()
  }

  #forget(partition: ConsumerPartition): void {
    const key = keyOf(partition)
    if (this.#partitions.get(key) === partition) this.#partitions.delete(key)
  }

  #tell(name: keyof RebalanceEvents, partitions: readonly ConsumerPartition[]): void {
    this.#options.events.emit(name, { partitions: partitions.map((partition) => partition.name) })
  }
}

const keyOf = ({ topicId, partition }: { topicId: TopicId; partition: number }): string =>
  `${topicId}/${partition}`
