import type { MillraceError } from '../protocol/error-codes.js'
import { hexFromBytes, type MemberId, memberIdFrom, type TopicId } from '../protocol/ids.js'
import {
  type GroupAssignment,
  groupJoined,
  groupLeft,
  groupRevoked,
  joinGroup,
  leaveGroup,
} from '../protocol/messages/group.js'
import type { Message } from '../protocol/messages/message.js'
import type { Fields, FieldsOf } from '../protocol/shape.js'
import { Backoff } from './backoff.js'
import type { Timer } from './clock.js'
import { type Connection, closedError, type LinkWatcher } from './connection.js'
import type { ConsumeSettings } from './consumer-options.js'
import { pause } from './deadline.js'
import { asMillraceError } from './errors.js'
import type { Link, MemberTarget } from './link.js'
import type { Metadata } from './metadata.js'
import { askLink } from './request.js'
import type { AnyTopic } from './topic.js'

/** What the membership is for. */
export interface MembershipHost {
  /** What it still has, to be named when it joins again. */
  held(): readonly { topicId: TopicId; partition: number; epoch: number }[]
  /** It is a member on this link. */
  joined(link: Link): void
  assigned(assignment: GroupAssignment, link: Link): void
  linkDown(): void
  /** It is no member, and will not be one again. */
  ended(error: unknown): void
}

export interface MembershipOptions {
  readonly connection: Connection
  readonly metadata: Metadata
  readonly topics: readonly AnyTopic[]
  readonly settings: ConsumeSettings
}

interface Joined {
  readonly link: Link
  readonly groupId: number
  readonly memberId: MemberId
}

type AsMember<F extends Fields> = Omit<FieldsOf<F>, 'correlationId' | 'groupId' | 'memberId'>

const RETRY_BASE_MS = 50
const RETRY_CAP_MS = 2_000

/**
 * One membership of a consumer group, over all connections: it joins on each with a higher attempt, so that it keeps what it
 * has, and leaves when it is told to.
 */
export class ConsumerMembership implements LinkWatcher, MemberTarget {
  readonly memberId: MemberId
  readonly #options: MembershipOptions
  readonly #host: MembershipHost
  readonly #backoff: Backoff
  #topics = new Map<TopicId, AnyTopic>()
  #hasAskedAgain = false
  #attempt = 0
  #groupId = 0
  /** The present one, joined or not. */
  #link: Link | undefined
  #isMember = false
  #isOver = false
  #timer: Timer | undefined
  readonly #waiting = new Set<{ joined(link: Link): void; over(): void }>()
  #leaving: Promise<void> | undefined
  #leaveTimer: Timer | undefined
  #hasSentLeave = false
  #fencedLeaving: MillraceError | undefined
  #whenLeft: (() => void) | undefined

  constructor(options: MembershipOptions, host: MembershipHost) {
    this.#options = options
    this.#host = host
    const { random } = options.connection.settings
    this.memberId = memberIdFrom(hexFromBytes(random.bytes(16)))
    this.#backoff = new Backoff({ random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
  }

  /** Undefined while it is no member. */
  get joined(): Joined | undefined {
    if (!this.#isMember || this.#link === undefined) return undefined
    return { link: this.#link, groupId: this.#groupId, memberId: this.memberId }
  }

  /** The broker takes it for a member, or is about to: there is something to leave. */
  get isKnown(): boolean {
    return !this.#isOver && this.#link !== undefined && this.#attempt > 0
  }

  /** Of the group, after the first join. */
  get groupId(): number {
    return this.#groupId
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Set when it has left and was no member any more when it asked whether it has. */
  get fencedLeaving(): MillraceError | undefined {
    return this.#fencedLeaving
  }

  /** The topic that an id stands for, of those that it reads. */
  topicOf(topicId: TopicId): AnyTopic | undefined {
    return this.#topics.get(topicId)
  }

  /** Joins on this connection and every one that follows. */
  async start(): Promise<void> {
    try {
      await this.#resolveTopics()
      if (!this.#isOver) this.#options.connection.watch(this)
    } catch (error) {
      this.#end(error)
    }
  }

  async #resolveTopics(): Promise<void> {
    const { topics, metadata, settings } = this.#options
    const resolved = await Promise.all(
      topics.map(async (topic) => [(await metadata.resolve(topic, settings.signal)).topicId, topic] as const),
    )
    this.#topics = new Map(resolved)
  }

  // What the connection tells.

  linkUp(link: Link): void {
    this.#link = link
    link.memberFramesTo(this.memberId, this)
    this.#join(link)
  }

  linkDown(): void {
    this.#link = undefined
    this.#isMember = false
    this.#timer?.cancel()
    this.#host.linkDown()
  }

  refused(error: MillraceError): void {
    this.#end(error)
  }

  #join(link: Link): void {
    const held = this.#host.held()
    // What it had to leave, it has left.
    if (this.#hasSentLeave && held.length === 0) {
      this.stop()
      return
    }
    const { group, ifNoCursor, sessionTimeoutMs } = this.#options.settings
    const fields = {
      group,
      kind: 'consumer' as const,
      memberId: this.memberId,
      attempt: ++this.#attempt,
      topicIds: [...this.#topics.keys()],
      ifNoCursor,
      sessionTimeoutMs,
      leaseMs: 0,
      maxDeliveries: 0,
      prefetch: 0,
      held: [...held],
      heldLeases: [],
    }
    askLink(link, [joinGroup, groupJoined], fields, {
      answered: ({ groupId }) => this.#joined(link, groupId),
      failed: (error) => {
        if (this.#link === link && link.isOpen) this.#notJoined(link, error)
      },
    })
  }

  #joined(link: Link, groupId: number): void {
    if (this.#isOver) {
      // It gave up leaving while this was under way: as long as the connection lives, the broker would wait for its word.
      const membership = { groupId, memberId: this.memberId }
      askLink(link, [leaveGroup, groupLeft], membership, { answered: () => {}, failed: () => {} })
      return
    }
    if (this.#link !== link) return
    this.#groupId = groupId
    this.#isMember = true
    this.#backoff.reset()
    this.#host.joined(link)
    for (const waiting of [...this.#waiting]) waiting.joined(link)
    if (this.#leaving !== undefined) this.#sendLeave(link)
  }

  #notJoined(link: Link, error: MillraceError): void {
    if (error.retriable) {
      const delayMs = error.retryAfterMs ?? this.#backoff.nextDelayMs()
      this.#timer = this.#options.connection.settings.clock.setTimer(() => this.#join(link), delayMs)
    } else if (error.code === 'FENCED' && this.#hasSentLeave) {
      // It was let go: most likely by the LEAVE_GROUP whose answer was lost.
      this.#fencedLeaving = error
      this.stop()
    } else if (error.code === 'UNKNOWN_TOPIC' && !this.#hasAskedAgain && this.#groupId === 0) {
      // What was known of a topic may be of one that was deleted and made anew: before the beginning that is no matter.
      this.#hasAskedAgain = true
      for (const { name } of this.#options.topics) this.#options.metadata.forget(name)
      this.#resolveTopics().then(
        () => {
          if (this.#link === link && !this.#isOver) this.#join(link)
        },
        (cause: unknown) => this.#end(cause),
      )
    } else this.#end(error)
  }

  assigned(assignment: GroupAssignment): void {
    if (this.#link === undefined || this.#isOver || this.#leaving !== undefined) return
    this.#groupId = assignment.groupId
    this.#host.assigned(assignment, this.#link)
  }

  /** Consumer groups are given no jobs. */
  delivered(): void {}

  ended(error: MillraceError): void {
    this.#isMember = false
    this.#end(error)
  }

  /** Nothing can be left any more. */
  #end(error: unknown): void {
    if (this.#isOver) return
    this.stop()
    this.#host.ended(error)
  }

  // What a member says.

  /** It has let go of these; its acks of them were sent before. */
  letGo(parts: readonly { topicId: TopicId; partition: number }[], epoch: number): void {
    const { joined } = this
    const link = joined?.link ?? this.#link
    const membership = { groupId: this.#groupId, memberId: this.memberId }
    link?.send(groupRevoked.write({ ...membership, epoch, parts: [...parts] }))
  }

  /**
   * Asks as a member, on whichever connection it is one, until there is an answer that counts; the fields are the same each
   * time. Rejects with the broker's error, or with CLOSED when the membership is over.
   */
  async ask<Q extends Fields, A extends Fields>(
    [ask, answer]: readonly [Message<string, Q>, Message<string, A>],
    fields: AsMember<Q>,
  ): Promise<FieldsOf<A>> {
    const { clock, random } = this.#options.connection.settings
    const { closing } = this.#options.connection
    const backoff = new Backoff({ random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
    for (;;) {
      const link = await this.#whenJoined()
      const membership = { groupId: this.#groupId, memberId: this.memberId }
      const asked = { ...fields, ...membership } as unknown as Omit<FieldsOf<Q>, 'correlationId'>
      try {
        return await new Promise((resolve, reject) => {
          askLink(link, [ask, answer], asked, { answered: resolve, failed: reject })
        })
      } catch (error) {
        if (!asMillraceError(error).retriable || this.#isOver) throw error
        const delayMs = asMillraceError(error).retryAfterMs ?? backoff.nextDelayMs()
        await pause(delayMs, clock, { signal: undefined, hurry: closing })
      }
    }
  }

  #whenJoined(): Promise<Link> {
    if (this.#isMember && this.#link !== undefined) return Promise.resolve(this.#link)
    if (this.#isOver) return Promise.reject(closedError())
    return new Promise((resolve, reject) => {
      const waiting = {
        joined: (link: Link) => {
          this.#waiting.delete(waiting)
          resolve(link)
        },
        over: () => reject(closedError()),
      }
      this.#waiting.add(waiting)
    })
  }

  /**
   * Hands everything back, after what was sent before. Resolves when the broker has done it; also when it cannot be reached for
   * as long as a session lasts, since it then has done it by itself.
   */
  leave(): Promise<void> {
    if (this.#isOver) return Promise.resolve()
    this.#leaving ??= new Promise((resolve) => {
      this.#whenLeft = resolve
      const { clock } = this.#options.connection.settings
      this.#leaveTimer = clock.setTimer(() => this.stop(), this.#options.settings.sessionTimeoutMs)
      if (this.#isMember && this.#link !== undefined) this.#sendLeave(this.#link)
      else if (this.#attempt === 0) this.stop()
    })
    return this.#leaving
  }

  #sendLeave(link: Link): void {
    this.#hasSentLeave = true
    const membership = { groupId: this.#groupId, memberId: this.memberId }
    askLink(link, [leaveGroup, groupLeft], membership, {
      answered: () => this.stop(),
      failed: (error) => {
        // On a link that is lost the next one does it again.
        if (link.isOpen || !error.retriable) this.stop()
      },
    })
  }

  /** Does nothing any more; the broker is not told. */
  stop(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#isMember = false
    this.#timer?.cancel()
    this.#leaveTimer?.cancel()
    this.#options.connection.unwatch(this)
    this.#link?.memberFramesNoMore(this.memberId)
    for (const waiting of [...this.#waiting]) waiting.over()
    this.#waiting.clear()
    this.#whenLeft?.()
  }
}
