import { randomBytes } from 'node:crypto'
import type {
  AlterTopicArgs,
  AppendAck,
  AppendBatch,
  AppendSource,
  CreateTopicArgs,
  DeleteBeforeArgs,
  ReadResult,
  RecordsDeleted,
  ShardFace,
  TopicInfo,
} from '../../broker/shard/shard-face.js'
import { COMPRESSION, ENTRY_HEADER_BYTES, writeEntryHeader } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { clusterIdFrom, hexFromBytes, type TopicId, topicIdFrom } from '../../protocol/ids.js'
import { illegalTopicName } from '../../protocol/limits.js'
import {
  DEFAULT_TOPIC_OPTIONS,
  patchedTopicOptions,
  TOPIC_OPTION_NAMES,
  type TopicOptions,
} from '../../protocol/topic-options.js'

const optionsOf = ({ options: patch }: CreateTopicArgs): TopicOptions =>
  patch === undefined ? DEFAULT_TOPIC_OPTIONS : patchedTopicOptions(DEFAULT_TOPIC_OPTIONS, { patch })

interface FakeEntry {
  readonly baseOffset: number
  readonly endOffset: number
  readonly appendTime: number
  readonly bytes: Uint8Array
}

interface FakePartition {
  startOffset: number
  entries: FakeEntry[]
  readonly followers: Set<() => void>
}

interface PendingAppend {
  readonly batch: AppendBatch
  readonly done: (error: MillraceError | null, ack: AppendAck | undefined) => void
}

/**
 * A shard in memory, for tests of what stands before it: appends become durable when the test commits them (or at
 * once), reads come from "cache" or "disk", everything held is counted. It checks no batch.
 */
export class FakeShard implements ShardFace {
  readonly clusterId = clusterIdFrom('c1'.repeat(16))
  readonly shardEpoch = 7
  /** Commit each append in a microtask. Otherwise `commit` does. */
  autoCommit = true
  /** `disk`: reads are promises, as from a chunk. `heldDisk`: they resolve, with what was there at first, at `finishReads`. */
  readMode: 'cache' | 'disk' | 'heldDisk' = 'cache'
  /** Thrown by the next calls of everything but `read`. */
  failWith: unknown
  /** Thrown by reads. */
  failReadsWith: unknown
  /** Read results that were handed out and not given back. */
  heldResults = 0
  heldBytes = 0
  heldBytesPeak = 0
  reads = 0
  lists = 0
  followers = 0
  sources = 0
  now = 1_700_000_000_000
  readonly #topics = new Map<TopicId, TopicInfo>()
  readonly #partitions = new Map<string, FakePartition>()
  readonly #pending: PendingAppend[] = []
  readonly #listeners = new Set<{ onPressure(paused: boolean): void }>()
  #heldReads: (() => void)[] = []
  #producers = 0

  time(): number {
    return this.now
  }

  topic(topicId: TopicId): TopicInfo | undefined {
    return this.#topics.get(topicId)
  }

  topicNamed(name: string): TopicInfo | undefined {
    this.#maybeFail()
    return [...this.#topics.values()].find((topic) => topic.name === name)
  }

  topicsAfter(after: string | null, limit: number): TopicInfo[] {
    this.lists++
    const topics = [...this.#topics.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return topics.filter(({ name }) => after === null || name > after).slice(0, limit)
  }

  async createTopic(args: CreateTopicArgs): Promise<{ topic: TopicInfo; created: boolean }> {
    this.#maybeFail()
    const fault = illegalTopicName(args.name)
    if (fault) throw new MillraceError('ILLEGAL_TOPIC_NAME', { message: fault })
    const existing = this.topicNamed(args.name)
    if (existing && !args.ifMissing) throw new MillraceError('TOPIC_EXISTS')
    return existing
      ? { topic: existing, created: false }
      : { topic: this.addTopic({ ...args, options: optionsOf(args) }), created: true }
  }

  /** A topic, without asking. */
  addTopic(args: Partial<TopicInfo> & { name: string }): TopicInfo {
    const topic: TopicInfo = {
      topicId: topicIdFrom(hexFromBytes(randomBytes(16))),
      name: args.name,
      partitions: args.partitions ?? 1,
      keyEncoding: args.keyEncoding ?? 'text',
      valueEncoding: args.valueEncoding ?? 'bytes',
      createdAt: this.now,
      options: args.options ?? DEFAULT_TOPIC_OPTIONS,
      internal: args.internal ?? false,
    }
    this.#topics.set(topic.topicId, topic)
    for (let partition = 0; partition < topic.partitions; partition++) {
      this.#partitions.set(`${topic.topicId}/${partition}`, {
        startOffset: 0,
        entries: [],
        followers: new Set(),
      })
    }
    return topic
  }

  async deleteTopic({ name }: { name: string }): Promise<{ topicId: TopicId }> {
    const topic = this.topicNamed(name)
    if (!topic) throw new MillraceError('UNKNOWN_TOPIC')
    this.#topics.delete(topic.topicId)
    for (let partition = 0; partition < topic.partitions; partition++) {
      const log = this.#partitions.get(`${topic.topicId}/${partition}`)
      this.#partitions.delete(`${topic.topicId}/${partition}`)
      for (const wake of log?.followers ?? []) wake()
    }
    return { topicId: topic.topicId }
  }

  async alterTopic({ name, options: patch, clear }: AlterTopicArgs): Promise<{ options: TopicOptions }> {
    const topic = this.topicNamed(name)
    if (!topic) throw new MillraceError('UNKNOWN_TOPIC')
    const names = TOPIC_OPTION_NAMES.filter((option) => clear.includes(option))
    const options = patchedTopicOptions(topic.options, { patch, clear: names })
    this.#topics.set(topic.topicId, { ...topic, options })
    return { options }
  }

  async deleteBefore({ topicId, partition, offset }: DeleteBeforeArgs): Promise<RecordsDeleted> {
    const { startOffset, durableEnd } = this.bounds(topicId, partition)
    const end = Math.max(startOffset, Math.min(offset, durableEnd))
    this.forgetBefore(topicId, partition, end)
    return { startOffset: end, records: end - startOffset, bytes: 0 }
  }

  async initProducer(): Promise<{ producerId: number; producerEpoch: number }> {
    this.#maybeFail()
    return { producerId: ++this.#producers, producerEpoch: 0 }
  }

  openSource(listener: { onPressure(paused: boolean): void }): AppendSource {
    this.sources++
    this.#listeners.add(listener)
    return {
      append: (batch, done) => {
        this.#pending.push({ batch, done })
        if (this.autoCommit && this.#pending.length === 1) queueMicrotask(() => this.commit())
      },
      appendUnit: (_unit, done) => {
        const refusal = new MillraceError('INTERNAL', { message: 'a fake shard takes no units' })
        queueMicrotask(() => done(refusal, undefined))
      },
      close: () => {
        this.sources--
        this.#listeners.delete(listener)
      },
    }
  }

  /** Tells every source to pause or to go on. */
  press(paused: boolean): void {
    for (const listener of this.#listeners) listener.onPressure(paused)
  }

  get pendingAppends(): number {
    return this.#pending.length
  }

  get pendingBytes(): number {
    return this.#pending.reduce((bytes, { batch }) => bytes + batch.payload.length, 0)
  }

  /** Makes the oldest `count` appends durable, as one group: applied, then answered in one synchronous run. */
  commit(count = this.#pending.length): void {
    const group = this.#pending.splice(0, count)
    const woken = new Set<FakePartition>()
    const answers = group.map(({ batch, done }): (() => void) => {
      const log = this.#partitions.get(`${batch.topicId}/${batch.partition}`)
      if (!log) return () => done(new MillraceError('UNKNOWN_TOPIC'), undefined)
      const entry = entryOf(batch, { baseOffset: endOf(log), appendTime: this.now })
      log.entries.push(entry)
      woken.add(log)
      return () =>
        done(null, {
          baseOffset: entry.baseOffset,
          appendTime: entry.appendTime,
          duplicate: false,
          duplicates: null,
        })
    })
    for (const answer of answers) answer()
    for (const log of woken) for (const wake of [...log.followers]) wake()
  }

  /** A durable entry of one record, without a connection; its payload is `payload`, whatever that holds. */
  put(topicId: TopicId, partition: number, payload: Uint8Array): void {
    const log = this.#log(topicId, partition)
    const batch = { topicId, partition, payload, recordCount: 1 }
    log.entries.push(entryOf(batch, { baseOffset: endOf(log), appendTime: this.now }))
    for (const wake of [...log.followers]) wake()
  }

  /** Entries that end at or before `offset` are gone. */
  forgetBefore(topicId: TopicId, partition: number, offset: number): void {
    const log = this.#log(topicId, partition)
    log.startOffset = offset
    log.entries = log.entries.filter(({ endOffset }) => endOffset > offset)
    for (const wake of [...log.followers]) wake()
  }

  /** Everything stored in the partition, end to end. */
  stored(topicId: TopicId, partition: number): Buffer {
    return Buffer.concat(this.#log(topicId, partition).entries.map(({ bytes }) => bytes))
  }

  bounds(topicId: TopicId, partition: number): { startOffset: number; durableEnd: number } {
    this.#maybeFail()
    const log = this.#log(topicId, partition)
    return { startOffset: log.startOffset, durableEnd: endOf(log) }
  }

  read(args: {
    topicId: TopicId
    partition: number
    offset: number
    maxBytes: number
  }): ReadResult | Promise<ReadResult> {
    this.reads++
    if (this.readMode === 'cache') return this.#readNow(args)
    if (this.readMode === 'disk') return Promise.resolve().then(() => this.#readNow(args))
    const result = this.#readNow(args)
    return new Promise((resolve) => this.#heldReads.push(() => resolve(result)))
  }

  get pendingReads(): number {
    return this.#heldReads.length
  }

  finishReads(): void {
    const held = this.#heldReads
    this.#heldReads = []
    for (const resolve of held) resolve()
  }

  async offsetAtTime(args: { topicId: TopicId; partition: number; time: number }): Promise<number> {
    const log = this.#log(args.topicId, args.partition)
    return log.entries.find(({ appendTime }) => appendTime >= args.time)?.baseOffset ?? endOf(log)
  }

  follow(args: { topicId: TopicId; partition: number }, wake: () => void): () => void {
    const log = this.#log(args.topicId, args.partition)
    // Each call is a follower of its own, whatever it passes.
    const own = (): void => wake()
    log.followers.add(own)
    this.followers++
    return () => {
      if (log.followers.delete(own)) this.followers--
    }
  }

  #readNow(args: { topicId: TopicId; partition: number; offset: number; maxBytes: number }): ReadResult {
    if (this.failReadsWith) throw this.failReadsWith
    const log = this.#log(args.topicId, args.partition)
    const durableEnd = endOf(log)
    const { startOffset } = log
    if (args.offset < startOffset || args.offset > durableEnd) {
      throw new MillraceError('OFFSET_OUT_OF_RANGE', { details: { startOffset, endOffset: durableEnd } })
    }
    const buffers: Uint8Array[] = []
    let bytes = 0
    let nextOffset = args.offset
    for (const entry of log.entries) {
      if (entry.endOffset <= args.offset) continue
      if (buffers.length > 0 && bytes + entry.bytes.length > args.maxBytes) break
      buffers.push(entry.bytes)
      bytes += entry.bytes.length
      nextOffset = entry.endOffset
    }
    this.heldResults++
    this.heldBytes += bytes
    this.heldBytesPeak = Math.max(this.heldBytesPeak, this.heldBytes)
    let isHeld = true
    return {
      buffers,
      bytes,
      nextOffset,
      startOffset,
      durableEnd,
      source: this.readMode === 'cache' ? 'cache' : 'chunk',
      release: () => {
        if (!isHeld) throw new Error('a read result was released twice')
        isHeld = false
        this.heldResults--
        this.heldBytes -= bytes
      },
    }
  }

  #log(topicId: TopicId, partition: number): FakePartition {
    const topic = this.#topics.get(topicId)
    if (!topic) throw new MillraceError('UNKNOWN_TOPIC')
    const log = this.#partitions.get(`${topicId}/${partition}`)
    if (!log) throw new MillraceError('UNKNOWN_PARTITION')
    return log
  }

  #maybeFail(): void {
    if (this.failWith) throw this.failWith
  }
}

const endOf = (log: FakePartition): number => log.entries.at(-1)?.endOffset ?? log.startOffset

function entryOf(
  batch: Pick<AppendBatch, 'topicId' | 'partition' | 'payload' | 'recordCount'> & Partial<AppendBatch>,
  at: { baseOffset: number; appendTime: number },
): FakeEntry {
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + batch.payload.length)
  writeEntryHeader(bytes, 0, {
    attributes: batch.attributes ?? COMPRESSION.none,
    payloadCrc: batch.payloadCrc ?? 0,
    topicId: batch.topicId,
    partition: batch.partition,
    baseOffset: at.baseOffset,
    lastOffsetDelta: batch.recordCount - 1,
    recordCount: batch.recordCount,
    appendTime: at.appendTime,
    baseTimestamp: batch.baseTimestamp ?? at.appendTime,
    producerId: batch.producerId ?? 0,
    producerEpoch: batch.producerEpoch ?? 0,
    baseSequence: batch.baseSequence ?? 0,
    sectionBytes: 0,
    sectionCrc: 0,
    payloadBytes: batch.payload.length,
    inflatedBytes: batch.inflatedBytes ?? batch.payload.length,
  })
  bytes.set(batch.payload, ENTRY_HEADER_BYTES)
  return { ...at, endOffset: at.baseOffset + batch.recordCount, bytes }
}
