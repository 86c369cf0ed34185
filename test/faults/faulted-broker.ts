import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Broker, startBroker } from '../../broker/broker.js'
import { verifyDirectory } from '../../broker/offline/verify.js'
import type { Clock } from '../../broker/platform/clock.js'
import { ArmedFailpoints } from '../../broker/platform/failpoints.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import { entryBytes, entryPayload, readEntryHeader } from '../../protocol/entry.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import { decodeRecords } from '../../protocol/records.js'
import { WireClient } from '../broker/session/wire-client.js'
import { markedBatch } from '../fuzz/legal-frames.js'
import { FaultyDisk } from './faulty-disk.js'

const KIB = 1024
/** Segments roll, chunks are sealed, snapshots are written and the cache forgets within some hundred kilobytes. */
const SMALL = {
  recordBytesMax: 8 * KIB,
  batchBytesMax: 16 * KIB,
  groupBytesMax: 32 * KIB,
  walSegmentBytes: 128 * KIB,
  walBytesMax: 2_048 * KIB,
  spareWalSegments: 1,
  chunkBytes: 16 * KIB,
  tailCacheBytes: 17 * KIB,
  manifestFlushMs: 20,
  snapshotEveryBytes: 1_024 * KIB,
  diskFreeBytesMin: 0,
}
const RECORD_BYTES = 4_000

/** What became of one record: where it is, or why it was refused. */
export type Outcome =
  | { readonly offset: number }
  | { readonly code: string; readonly outcome: number; readonly retriable: boolean }
  | 'no answer'

/** A real broker in this process on a disk that can fail, and a record of everything that it was sent. */
export class FaultedBroker {
  readonly directory: string
  readonly walBytesMax = SMALL.walBytesMax
  readonly disk = new FaultyDisk()
  /** Warnings and worse. */
  readonly logged: string[] = []
  readonly outcomes = new Map<string, Outcome>()
  /** Of the next start; each start gets new ones. */
  failpoints = new ArmedFailpoints()
  broker: Broker | undefined
  #client: WireClient | undefined
  #topicId: TopicId | undefined
  readonly #clock: Clock | undefined
  readonly #escaped: unknown[] = []
  readonly #onEscaped = (error: unknown) => void this.#escaped.push(error)

  private constructor(directory: string, clock: Clock | undefined) {
    this.directory = directory
    this.#clock = clock
    process.on('unhandledRejection', this.#onEscaped)
  }

  static async start({ clock }: { clock?: Clock } = {}): Promise<FaultedBroker> {
    const faulted = new FaultedBroker(await mkdtemp(join(tmpdir(), 'millrace-faults-')), clock)
    await faulted.start()
    return faulted
  }

  /** Not started yet, on a copy of what another one left when it was stopped. */
  static async copyOf(other: FaultedBroker): Promise<FaultedBroker> {
    const copy = new FaultedBroker(await mkdtemp(join(tmpdir(), 'millrace-faults-')), undefined)
    await cp(other.directory, copy.directory, { recursive: true })
    copy.#topicId = other.#topicId
    for (const [value, outcome] of other.outcomes) copy.outcomes.set(value, outcome)
    return copy
  }

  async start(): Promise<void> {
    const log = pino({ level: 'warn' }, { write: (line: string) => void this.logged.push(line) })
    const clock = this.#clock === undefined ? {} : { clock: this.#clock }
    this.broker = await startBroker(
      { ...SMALL, dataDir: this.directory, port: 0, log },
      { disk: this.disk.disk, failpoints: this.failpoints, ...clock },
    )
    this.#client = await WireClient.open(this.broker.port)
    if (this.#topicId !== undefined) return
    const requestId = hexFromBytes(crypto.getRandomValues(new Uint8Array(16))) as RequestId
    const topic = {
      name: 'logs',
      partitions: 1,
      keyEncoding: 'text',
      valueEncoding: 'text',
      ifMissing: true,
    } as const
    this.#topicId = (
      await this.client.request(messages.createTopic, { requestId, ...topic }, messages.topicCreated)
    ).topicId
  }

  get client(): WireClient {
    return this.#client as WireClient
  }

  get topicId(): TopicId {
    return this.#topicId as TopicId
  }

  /** Sends one record and waits for what becomes of it. */
  async send(): Promise<Outcome> {
    const correlationId = this.client.nextId()
    const mark = `record ${this.outcomes.size} ${'.'.repeat(RECORD_BYTES)}`
    const unnamed = { producerId: null, producerEpoch: 0, baseSequence: 0 }
    const batch = markedBatch(mark, { records: 1, textual: true })
    this.client.send(messages.produce, {
      correlationId,
      topicId: this.topicId,
      partition: 0,
      ...unnamed,
      ...batch,
    })
    const outcome = await this.#outcomeOf(correlationId)
    this.outcomes.set(`${mark} 0`, outcome)
    return outcome
  }

  /** Sends until `isEnough`, or so many. */
  async sendUntil(isEnough: () => boolean, max = 400): Promise<void> {
    for (let i = 0; i < max && !isEnough(); i++) if (!('offset' in Object(await this.send()))) return
  }

  async #outcomeOf(correlationId: number): Promise<Outcome> {
    const { received } = this.client
    const isMine = ({ name, fields }: (typeof received)[number]): boolean =>
      (name === messages.produced.name &&
        (fields.acks as messages.ProduceAck[]).some((ack) => ack.correlationId === correlationId)) ||
      (name === messages.error.name && fields.correlationId === correlationId)
    try {
      await this.client.until(() => received.some(isMine), 'an answer')
    } catch {
      return 'no answer'
    }
    const [{ fields }] = received.splice(received.findIndex(isMine), 1) as [(typeof received)[number]]
    // Together with one that was given up before, maybe.
    const acks = (fields.acks ?? []) as messages.ProduceAck[]
    const ack = acks.find((each) => each.correlationId === correlationId)
    if (ack !== undefined) return { offset: ack.baseOffset }
    return {
      code: String(fields.code),
      outcome: fields.outcome as number,
      retriable: fields.retriable === true,
    }
  }

  /** Reads one part of the topic from an offset on, and returns its values or the error. */
  async read(offset: number): Promise<{ values: Map<number, string> } | messages.ErrorFields> {
    const correlationId = this.client.nextId()
    const at = { topicId: this.topicId, partition: 0, offset }
    this.client.send(messages.fetch, { correlationId, ...at, minBytes: 0, maxBytes: 200_000, maxWaitMs: 0 })
    const { received } = this.client
    const isMine = ({ fields }: (typeof received)[number]): boolean => fields.correlationId === correlationId
    await this.client.until(() => received.some(isMine), 'an answer to FETCH')
    const [answer] = received.splice(received.findIndex(isMine), 1) as [(typeof received)[number]]
    if (answer.name === messages.error.name) return answer.fields as unknown as messages.ErrorFields
    return { values: valuesOf(answer.fields.entries as Uint8Array) }
  }

  /** Everything in the topic; throws at an error. */
  async readAll(): Promise<Map<number, string>> {
    const all = new Map<number, string>()
    for (;;) {
      const read = await this.read(all.size)
      if (!('values' in read)) throw new Error(`a read failed with ${read.code}: ${read.message}`)
      if (read.values.size === 0) return all
      for (const [offset, value] of read.values) all.set(offset, value)
    }
  }

  /** Throws unless what was acknowledged is there, what was refused as not written is not, and nothing else is. */
  async assertKept(): Promise<void> {
    const all = await this.readAll()
    const stored = new Set(all.values())
    for (const [value, outcome] of this.outcomes) {
      if (outcome === 'no answer') continue
      if ('offset' in outcome && all.get(outcome.offset) !== value)
        throw new Error(`offset ${outcome.offset} is lost`)
      if ('code' in outcome && outcome.outcome === 0 && stored.has(value))
        throw new Error(`a record that was refused with ${outcome.code} is there`)
    }
    for (const value of stored)
      if (!this.outcomes.has(value)) throw new Error(`"${value.slice(0, 20)}" was never sent`)
  }

  async stop(): Promise<void> {
    await this.#client?.close()
    const { broker } = this
    this.broker = undefined
    await broker?.close().catch(() => {})
    this.failpoints = new ArmedFailpoints()
  }

  /** The cause is gone: a new start on what is left must hold what was promised, and go on. */
  async assertRecovers(): Promise<void> {
    this.disk.mend()
    await this.stop()
    await this.start()
    await this.assertKept()
    const outcome = await this.send()
    if (!('offset' in Object(outcome))) throw new Error(`after the recovery: ${JSON.stringify(outcome)}`)
    await this.assertKept()
  }

  /** Stops for good; every byte that is left must verify. */
  async end(): Promise<void> {
    this.disk.mend()
    await this.stop()
    process.off('unhandledRejection', this.#onEscaped)
    const { faults } = await verifyDirectory({ disk: nodeDisk, directory: this.directory })
    await rm(this.directory, { recursive: true })
    if (faults.length > 0) throw new Error(`left behind: ${JSON.stringify(faults)}`)
    if (this.#escaped.length > 0) throw new Error('a rejection was not handled', { cause: this.#escaped[0] })
  }
}

function valuesOf(entries: Uint8Array): Map<number, string> {
  const values = new Map<number, string>()
  for (let at = 0; at < entries.length; ) {
    const header = readEntryHeader(entries, at)
    for (const { offsetDelta, value } of decodeRecords(entryPayload(entries, header, at), header.recordCount))
      values.set(header.baseOffset + offsetDelta, String(value))
    at += entryBytes(header)
  }
  return values
}
