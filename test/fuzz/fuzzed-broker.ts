import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Broker, startBroker } from '../../broker/broker.js'
import { verifyDirectory } from '../../broker/offline/verify.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { entryBytes, readEntryHeader } from '../../protocol/entry.js'
import { entryFault } from '../../protocol/entry-check.js'
import { hexFromBytes, type MemberId, type RequestId, type TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import { WireClient } from '../broker/session/wire-client.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'
import { type Held, markedBatch, type World } from './legal-frames.js'

const FRAME_SLAB_BYTES = 2 * 1024 * 1024

/** An entry as it stands in the log. */
export interface Stored {
  readonly baseOffset: number
  readonly endOffset: number
  readonly recordCount: number
  readonly bytes: Uint8Array
}

export interface StoredPartition {
  readonly topic: messages.MetadataListed['topics'][number]
  readonly startOffset: number
  readonly entries: readonly Stored[]
}

/** A real broker in this process, and one client that behaves: what becomes of its work is what is looked at. */
export class FuzzedBroker {
  readonly broker: Broker
  readonly control: WireClient
  /** What the broker logged as its own fault, and what escaped from it. */
  readonly faults: unknown[]
  readonly #directory: string
  readonly #random = new SeededRandom(5)
  readonly #onEscaped = (error: unknown) => void this.faults.push(error)
  #ownTopic = '' as TopicId
  #worlds = 0

  private constructor(parts: { directory: string; broker: Broker; control: WireClient; faults: unknown[] }) {
    this.#directory = parts.directory
    this.broker = parts.broker
    this.control = parts.control
    this.faults = parts.faults
    process.on('unhandledRejection', this.#onEscaped)
    process.on('uncaughtException', this.#onEscaped)
  }

  static async start(): Promise<FuzzedBroker> {
    const directory = await mkdtemp(join(tmpdir(), 'millrace-fuzzed-'))
    const faults: unknown[] = []
    const log = pino({ level: 'error' }, { write: (line: string) => void faults.push(JSON.parse(line)) })
    // Small, so that what is written soon lies in chunks.
    const broker = await startBroker({ dataDir: directory, port: 0, log, chunkBytes: 64 * 1024 })
    void broker.failed.then((error) => faults.push(error))
    const control = await WireClient.open(broker.port)
    const fuzzed = new FuzzedBroker({ directory, broker, control, faults })
    fuzzed.#ownTopic = await fuzzed.#topic('control', 1, 'text')
    return fuzzed
  }

  /** Two topics with a few records, a member of a consumer group, one of a work queue and a producer, all of `client`. */
  async world(client: WireClient): Promise<World> {
    const name = `w${++this.#worlds}`
    const topics = await Promise.all([
      this.#topic(`${name}-a`, 2, 'text').then((topicId) => ({ name: `${name}-a`, topicId })),
      this.#topic(`${name}-b`, 1, 'bytes').then((topicId) => ({ name: `${name}-b`, topicId })),
    ])
    const topicId = (topics[0] as World['topics'][number]).topicId
    for (let i = 0; i < 3; i++) this.#produce(topicId, `${name} seed ${i}`)
    await this.control.acks(3)
    client.send(messages.initProducer, {
      correlationId: client.nextId(),
      requestId: this.#id<RequestId>(),
      name: `${name}-p`,
    })
    const member = {
      attempt: 1,
      topicIds: [topicId],
      ifNoCursor: 'earliest',
      sessionTimeoutMs: 5_000,
      held: [],
      heldLeases: [],
    } as const
    const members = { consumer: this.#id<MemberId>(), queue: this.#id<MemberId>() }
    for (const kind of ['consumer', 'queue'] as const) {
      const queue =
        kind === 'queue'
          ? { leaseMs: 2_000, maxDeliveries: 2, prefetch: 2 }
          : { leaseMs: 0, maxDeliveries: 0, prefetch: 0 }
      const correlationId = client.nextId()
      client.send(messages.joinGroup, {
        ...member,
        ...queue,
        topicIds: [topicId],
        held: [],
        heldLeases: [],
        correlationId,
        group: `${name}-${kind}`,
        kind,
        memberId: members[kind],
      })
    }
    const { producerId, producerEpoch } = await client.next(messages.producerReady)
    const joined = [await client.next(messages.groupJoined), await client.next(messages.groupJoined)]
    const delivered = await client.next(messages.queueDeliver)
    const of = (memberId: MemberId) => (assigned: messages.GroupAssignment) => assigned.memberId === memberId
    let assignment = await client.next(messages.groupAssignment)
    while (!of(members.consumer)(assignment)) assignment = await client.next(messages.groupAssignment)
    const mine = assignment.assigned.find(({ partition }) => partition === 0)
    const consumerId = assignment.groupId
    const queueId = joined.find(({ groupId }) => groupId !== consumerId)?.groupId ?? 0
    const consumer: Held = {
      group: `${name}-consumer`,
      groupId: consumerId,
      memberId: members.consumer,
      topicId,
      partition: 0,
      epoch: mine?.epoch ?? 0,
      leaseId: 0,
    }
    const queue: Held = {
      ...consumer,
      group: `${name}-queue`,
      groupId: queueId,
      memberId: members.queue,
      partition: delivered.partition,
      leaseId: delivered.leaseId,
    }
    return { name, topics, consumer, queue, producer: { producerId, producerEpoch } }
  }

  /** Throws unless the client that behaves is served as ever, and nothing escaped. */
  async assertServes(): Promise<void> {
    const mark = `control ${this.control.nextId()}`
    this.#produce(this.#ownTopic, mark)
    const [ack] = await this.control.acks(1)
    const { entries } = await this.control.request(
      messages.fetch,
      {
        topicId: this.#ownTopic,
        partition: 0,
        offset: ack?.baseOffset ?? 0,
        minBytes: 0,
        maxBytes: 1000,
        maxWaitMs: 0,
      },
      messages.fetched,
    )
    if (!Buffer.from(entries).includes(mark))
      throw new Error('the client that behaves does not find its record')
    const stray = this.control.received.splice(0)
    if (stray.length > 0) throw new Error(`the client that behaves got ${JSON.stringify(stray)}`)
    this.assertNoFault()
  }

  assertNoFault(): void {
    const [fault] = this.faults.splice(0)
    if (fault !== undefined)
      throw new Error(`the broker says: ${fault instanceof Error ? fault.stack : JSON.stringify(fault)}`)
  }

  /** Waits until nothing is left of the other connections. */
  async assertReleased(): Promise<void> {
    const held = () => {
      const { connections, inFlightBytes, frameMemoryBytes, subscriptions } =
        this.broker.metrics.snapshot().gauges
      // One piece of memory for frames is kept to go on with.
      const slabs = Math.max(0, (frameMemoryBytes ?? 0) / FRAME_SLAB_BYTES - 1)
      return { connections: (connections ?? 0) - 1, inFlightBytes, slabs, subscriptions }
    }
    const isFree = () => Object.values(held()).every((value) => value === 0)
    await until(isFree, { everyMs: 1 }).catch(() => {
      throw new Error(`a connection has ended, and the broker still holds ${JSON.stringify(held())}`)
    })
  }

  /** All entries of the topics whose names begin with `prefix`, by `name/partition`; every one is checked. */
  async stored(prefix: string): Promise<Map<string, StoredPartition>> {
    const found = new Map<string, StoredPartition>()
    const { topics } = await this.control.request(
      messages.metadata,
      { names: null, after: prefix, limit: 100 },
      messages.metadataListed,
    )
    for (const topic of topics.filter(({ name }) => name.startsWith(prefix))) {
      for (let partition = 0; partition < topic.partitions; partition++) {
        found.set(`${topic.name}/${partition}`, { topic, ...(await this.#entries(topic.topicId, partition)) })
      }
    }
    return found
  }

  async #entries(topicId: TopicId, partition: number): Promise<Omit<StoredPartition, 'topic'>> {
    const entries: Stored[] = []
    const bounds = await this.control.request(
      messages.listOffsets,
      { topicId, queries: [{ partition, at: 0, time: 0 }] },
      messages.offsetsListed,
    )
    const startOffset = bounds.offsets[0]?.offset ?? 0
    let offset = startOffset
    for (;;) {
      const read = await this.control.request(
        messages.fetch,
        { topicId, partition, offset, minBytes: 0, maxBytes: 1_000_000, maxWaitMs: 0 },
        messages.fetched,
      )
      if (read.entries.length === 0) return { startOffset, entries }
      for (let at = 0; at < read.entries.length; ) {
        const header = readEntryHeader(read.entries, at)
        const fault = entryFault(read.entries, header, at)
        if (fault !== undefined || header.topicId !== topicId || header.partition !== partition)
          throw new Error(`what is stored is damaged: ${fault ?? 'it is another partition’s'}`)
        const bytes = read.entries.slice(at, at + entryBytes(header))
        const endOffset = header.baseOffset + header.lastOffsetDelta + 1
        entries.push({ baseOffset: header.baseOffset, endOffset, recordCount: header.recordCount, bytes })
        at += bytes.length
        offset = endOffset
      }
    }
  }

  /** Stops, and reads every byte that was written. */
  async stop(): Promise<void> {
    await this.control.close()
    await this.broker.close()
    const report = await verifyDirectory({ disk: nodeDisk, directory: this.#directory })
    process.off('unhandledRejection', this.#onEscaped)
    process.off('uncaughtException', this.#onEscaped)
    this.assertNoFault()
    if (report.status !== 'clean')
      throw new Error(`the data directory is ${report.status}: ${JSON.stringify(report.faults)}`)
    await rm(this.#directory, { recursive: true })
  }

  async #topic(name: string, partitions: number, encoding: 'text' | 'bytes'): Promise<TopicId> {
    const encodings = { keyEncoding: encoding, valueEncoding: encoding, ifMissing: false }
    const correlationId = this.control.nextId()
    this.control.send(messages.createTopic, {
      correlationId,
      requestId: this.#id<RequestId>(),
      name,
      partitions,
      ...encodings,
    })
    const isMine = () =>
      this.control.received.findIndex(
        ({ name, fields }) => name === messages.topicCreated.name && fields.correlationId === correlationId,
      )
    await this.control.until(() => isMine() >= 0, 'TOPIC_CREATED')
    return this.control.received.splice(isMine(), 1)[0]?.fields.topicId as TopicId
  }

  #produce(topicId: TopicId, mark: string): void {
    const batch = markedBatch(mark, { records: 1, textual: true })
    const unnamed = { producerId: null, producerEpoch: 0, baseSequence: 0 }
    this.control.send(messages.produce, {
      correlationId: this.control.nextId(),
      topicId,
      partition: 0,
      ...unnamed,
      ...batch,
    })
  }

  #id<Id extends string>(): Id {
    return hexFromBytes(this.#random.bytes(16)) as Id
  }
}
