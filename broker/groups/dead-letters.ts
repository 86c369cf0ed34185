import { deadLetterTopicName, retryTopicName } from '../../protocol/dead-letters.js'
import { MillraceError } from '../../protocol/error-codes.js'
import {
  hexFromBytes,
  type MemberId,
  type RequestId,
  requestIdFrom,
  type TopicId,
} from '../../protocol/ids.js'
import { decodeRecords } from '../../protocol/records.js'
import { EMPTY_TOPIC_OPTIONS_PATCH } from '../../protocol/topic-options.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import type { DeadLetterMove } from '../shard/group-requests.js'
import type { Shard, TopicInfo } from '../shard/shard.js'
import type { ShardGroups } from '../shard/shard-groups.js'
import { type EntrySlicer, entriesIn } from './entry-slice.js'
import { batchOf, type FoundRecord, letterRecord, originTopicName } from './letter.js'

/** What dead letters need of the shard. */
export type LetterShard = Pick<Shard, 'time' | 'read' | 'bounds' | 'topic' | 'topicNamed' | 'createTopic'> & {
  readonly groups: Pick<ShardGroups, 'state' | 'deadLetter' | 'moveDeadLetters'>
}

/** The fields that DLQ_REPLAY and DLQ_PURGE share. */
interface DlqRequest {
  readonly requestId: RequestId
  readonly topicId: TopicId
  readonly group: string
}

interface CursorLetter {
  readonly requestId: RequestId
  readonly groupId: number
  readonly memberId: MemberId
  readonly topicId: TopicId
  readonly partition: number
  readonly epoch: number
  readonly offset: number
  readonly cursor: number
  readonly count: number
  readonly reason: string
}

/** What is read at once, and what one step of a replay moves; one batch may have more. */
const READ_BYTES_MAX = 256 * 1024

const ANSWERS_KEPT = 1000

/** Records that groups gave up: read where they stand, written to the group's own topics, replayed and purged. */
export class DeadLetters {
  readonly #shard: LetterShard
  readonly #slicer: EntrySlicer
  readonly #random: Random
  readonly #metrics: Metrics
  /** To replays and purges, the newest last. */
  readonly #answers = new Map<RequestId, Promise<unknown>>()

  constructor(options: { shard: LetterShard; slicer: EntrySlicer; random: Random; metrics: Metrics }) {
    this.#shard = options.shard
    this.#slicer = options.slicer
    this.#random = options.random
    this.#metrics = options.metrics
  }

  /** The record at an offset; undefined when there is none, or none any more. Rejects with UNKNOWN_TOPIC, CORRUPT_DATA. */
  async record(at: {
    topicId: TopicId
    partition: number
    offset: number
  }): Promise<FoundRecord | undefined> {
    const { topicId, partition } = at
    const { startOffset, durableEnd } = this.#shard.bounds(topicId, partition)
    if (at.offset < startOffset || at.offset >= durableEnd) return undefined
    const [found] = await this.#records({ ...at, to: at.offset + 1, bytesMax: 1 })
    return found
  }

  /** The records from `offset` on, up to `to` or about so many bytes. */
  async #records(at: {
    topicId: TopicId
    partition: number
    offset: number
    to: number
    bytesMax: number
  }): Promise<FoundRecord[]> {
    const { topicId, partition, to } = at
    const found: FoundRecord[] = []
    const maxBytes = Math.min(at.bytesMax, READ_BYTES_MAX)
    const read = await this.#shard.read({ topicId, partition, offset: at.offset, maxBytes })
    try {
      for (const entry of entriesIn(read.buffers)) {
        const { recordCount, parts, header } = await this.#slicer.slice(entry, [{ from: at.offset, to }])
        // A copy: what is found outlives the read.
        const payload = new Uint8Array(Buffer.concat(parts))
        for (const { offsetDelta, timestampDelta, key, value, headers } of decodeRecords(
          payload,
          recordCount,
        )) {
          const timestamp = header.baseTimestamp + timestampDelta
          found.push({ offset: header.baseOffset + offsetDelta, key, value, headers, timestamp })
        }
      }
    } finally {
      read.release()
    }
    return found
  }

  /** The topic for a group's dead letters of a topic, or for those that are to be tried again; made if there is none. */
  async topicFor(source: TopicInfo, group: string, purpose: 'deadLetters' | 'retry'): Promise<TopicId> {
    const origin = originTopicName(source.name, group)
    const name = purpose === 'retry' ? retryTopicName(origin, group) : deadLetterTopicName(origin, group)
    const known = this.#shard.topicNamed(name)
    const { keyEncoding, valueEncoding } = source
    if (known !== undefined) {
      if (known.keyEncoding === keyEncoding && known.valueEncoding === valueEncoding) return known.topicId
      throw new MillraceError('TOPIC_MISMATCH', {
        message: `topic "${name}" has other encodings than "${origin}", whose dead letters it is to hold`,
      })
    }
    const options = purpose === 'retry' ? { options: { ...EMPTY_TOPIC_OPTIONS_PATCH, untilAcked: true } } : {}
    const requestId = this.#newRequestId()
    const asked = { requestId, name, partitions: 1, keyEncoding, valueEncoding, ifMissing: true, ...options }
    return (await this.#shard.createTopic(asked)).topic.topicId
  }

  /**
   * A member of a consumer group gives a record up: its copy is written as the cursor moves past it. Rejects with
   * UNKNOWN_TOPIC, FENCED and what else an ack may be refused with, ILLEGAL_ARGUMENT, OFFSET_OUT_OF_RANGE.
   */
  async ofConsumer(args: CursorLetter): Promise<{ dlqOffset: number }> {
    const { groups } = this.#shard
    const { requestId, groupId, memberId, topicId, partition, epoch, offset, cursor, count, reason } = args
    const group = groups.state.groups.get(groupId)
    if (group === undefined) throw new MillraceError('UNKNOWN_GROUP')
    const source = this.#shard.topic(topicId)
    if (source === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    if (cursor <= offset) {
      throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'the cursor has to move past the record' })
    }
    // Before anything is made for a member that is out: the shard checks again when it writes.
    const owned = group.cursors.get(`${topicId}/${partition}`)
    if (owned?.ownerMember !== memberId || owned.ownerEpoch !== epoch) {
      throw new MillraceError('FENCED', { details: { epoch: group.epoch } })
    }
    const { startOffset, durableEnd } = this.#shard.bounds(topicId, partition)
    if (cursor > durableEnd) {
      throw new MillraceError('ACK_OUT_OF_RANGE', { details: { endOffset: durableEnd } })
    }
    const record = await this.record({ topicId, partition, offset })
    if (record === undefined) {
      throw new MillraceError('OFFSET_OUT_OF_RANGE', {
        message: `there is no record at offset ${offset}`,
        details: { startOffset, endOffset: durableEnd },
      })
    }
    const dlq = await this.topicFor(source, group.name, 'deadLetters')
    const time = this.#shard.time()
    const letter = { record, topic: source.name, partition, group: group.name, reason, count, time }
    const batch = batchOf([letterRecord(letter)], { topicId: dlq, partition: 0 })
    const ack = { groupId, memberId, epoch, topicId, partition, offset: cursor }
    const written = await groups.deadLetter({ requestId, ack, letter: batch })
    this.#metrics.count('deadLetters')
    return { dlqOffset: written.offset }
  }

  /**
   * Gives the oldest dead letters to the group once more: they go to its retry topic as they leave the dead-letter
   * topic. A retry of the request gets the first answer, as long as this broker runs. Rejects with UNKNOWN_TOPIC,
   * UNKNOWN_GROUP.
   */
  replay(args: DlqRequest & { max: number }): Promise<{ replayed: number; left: number }> {
    return this.#once(args.requestId, () => this.#replay(args))
  }

  /**
   * Deletes a group's dead letters of a topic; the group itself may be gone. A retry gets the first answer. Rejects with
   * UNKNOWN_TOPIC, and UNKNOWN_GROUP when there is neither the group nor anything that it left.
   */
  purge(args: DlqRequest): Promise<{ records: number }> {
    return this.#once(args.requestId, () => this.#purge(args))
  }

  async #replay(args: DlqRequest & { max: number }): Promise<{ replayed: number; left: number }> {
    const dlq = this.#dlqOf(args)
    if (!this.#isGroup(args.group)) {
      const hint = dlq === undefined ? '' : ': it must be made again before its dead letters can go to it'
      throw new MillraceError('UNKNOWN_GROUP', { message: `there is no group "${args.group}"${hint}` })
    }
    if (dlq === undefined) return { replayed: 0, left: 0 }
    const retry = await this.topicFor(dlq.source, args.group, 'retry')
    const at = { topicId: dlq.topicId, partition: 0 }
    // What is given up again meanwhile is left for the next replay.
    const { durableEnd: end } = this.#shard.bounds(at.topicId, 0)
    let replayed = 0
    for (;;) {
      const { startOffset: from } = this.#shard.bounds(at.topicId, 0)
      const left = args.max - replayed
      if (from >= end || left <= 0) break
      const records = await this.#records({ ...at, offset: from, to: end, bytesMax: READ_BYTES_MAX })
      const taken = records.slice(0, left)
      const to = taken.length === 0 ? end : (taken.at(-1) as FoundRecord).offset + 1
      const batches = taken.length === 0 ? [] : [batchOf(taken, { topicId: retry, partition: 0 })]
      if (await this.#move({ ...at, from, to, batches })) replayed += taken.length
    }
    this.#metrics.count('dlqReplayed', replayed)
    const { startOffset, durableEnd } = this.#shard.bounds(at.topicId, 0)
    return { replayed, left: durableEnd - startOffset }
  }

  async #purge(args: DlqRequest): Promise<{ records: number }> {
    const dlq = this.#dlqOf(args)
    if (dlq === undefined && !this.#isGroup(args.group)) {
      throw new MillraceError('UNKNOWN_GROUP', { message: `there is no group "${args.group}"` })
    }
    if (dlq === undefined) return { records: 0 }
    const at = { topicId: dlq.topicId, partition: 0 }
    for (;;) {
      const { startOffset: from, durableEnd: to } = this.#shard.bounds(at.topicId, 0)
      if (from === to) return { records: 0 }
      if (!(await this.#move({ ...at, from, to, batches: [] }))) continue
      this.#metrics.count('dlqPurged', to - from)
      return { records: to - from }
    }
  }

  /** False when another replay or purge was first. */
  #move(move: Omit<DeadLetterMove, 'requestId'>): Promise<boolean> {
    return this.#shard.groups.moveDeadLetters({ ...move, requestId: this.#newRequestId() })
  }

  #once<T>(requestId: RequestId, run: () => Promise<T>): Promise<T> {
    const before = this.#answers.get(requestId)
    if (before !== undefined) return before as Promise<T>
    const answer = run()
    this.#answers.set(requestId, answer)
    // A failure may be tried again.
    answer.catch(() => this.#answers.delete(requestId))
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= ANSWERS_KEPT) break
      this.#answers.delete(oldest)
    }
    return answer
  }

  #dlqOf({
    topicId,
    group,
  }: {
    topicId: TopicId
    group: string
  }): { topicId: TopicId; source: TopicInfo } | undefined {
    const source = this.#shard.topic(topicId)
    if (source === undefined) throw new MillraceError('UNKNOWN_TOPIC')
    const dlq = this.#shard.topicNamed(deadLetterTopicName(originTopicName(source.name, group), group))
    return dlq === undefined ? undefined : { topicId: dlq.topicId, source }
  }

  #isGroup(name: string): boolean {
    return this.#shard.groups.state.groupsByName.has(name)
  }

  #newRequestId(): RequestId {
    return requestIdFrom(hexFromBytes(this.#random.bytes(16)))
  }
}
