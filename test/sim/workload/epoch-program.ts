import { crc32 } from 'node:zlib'
import type { Connection } from '../../../client/connection.js'
import type { Link } from '../../../client/link.js'
import { Metadata } from '../../../client/metadata.js'
import { newRequestId } from '../../../client/random.js'
import { request } from '../../../client/request.js'
import { COMPRESSION } from '../../../protocol/entry.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import type { TopicId } from '../../../protocol/ids.js'
import {
  initProducer,
  type Produce,
  type ProduceAck,
  type ProducerReady,
  produce,
  producerReady,
} from '../../../protocol/messages/produce.js'
import { RecordBatchBuilder } from '../../../protocol/records.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

type Batch = Omit<Produce, 'correlationId'>

/** What ends a reign: others have the name, or nobody knows what became of a batch. */
class ReignOver extends Error {}

/**
 * Produces under a name that others take, too, and says which epoch and sequence each batch has: so the checker knows what was
 * fenced. Speaks the protocol by hand, repeats batches that were answered, and goes on for a while when it is fenced, as the client
 * library never would.
 */
export async function reign(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const connection = process.connection()
  while (!process.isEnding) {
    try {
      const { topicId } = await new Metadata(connection).describe(topic.name)
      const requestId = newRequestId(connection.settings.random)
      const fields = { requestId, name: `${topic.name} writer` }
      const ready = await request(connection, [initProducer, producerReady], fields, { isMutation: true })
      const { producerId, producerEpoch: epoch } = ready
      lab.history.record({ type: 'producer', process: process.name, producerId, epoch })
      await new Reign(lab, process, { connection, topic, topicId, identity: ready }).run()
    } catch (error) {
      if (!(error instanceof ReignOver) && !isPassing(error)) throw error
    }
    await process.sleep(20 + 4 * thinkMs(lab, process.random))
  }
  await connection.close()
}

class Reign {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #connection: Connection
  readonly #topic: WorkTopic
  readonly #topicId: TopicId
  readonly #identity: ProducerReady
  /** By partition, how many records it wrote there. */
  readonly #sequences = new Map<number, number>()
  #values = 0

  constructor(
    lab: Lab,
    process: ClientProcess,
    of: { connection: Connection; topic: WorkTopic; topicId: TopicId; identity: ProducerReady },
  ) {
    this.#lab = lab
    this.#process = process
    this.#connection = of.connection
    this.#topic = of.topic
    this.#topicId = of.topicId
    this.#identity = of.identity
  }

  async run(): Promise<void> {
    const { random } = this.#process
    const abdicateOdds = random.pick([0, 0.1])
    while (!this.#process.isEnding && !random.chance(abdicateOdds)) {
      await this.#write()
      await this.#process.sleep(thinkMs(this.#lab, random))
    }
  }

  async #write(): Promise<void> {
    const { random, name } = this.#process
    const { producerId, producerEpoch } = this.#identity
    const partition = random.below(this.#topic.partitions)
    const sequence = this.#sequences.get(partition) ?? 0
    const values = Array.from(
      { length: 1 + random.below(3) },
      () => `${name}/${producerEpoch}/${this.#values++}`,
    )
    const batch = this.#batch(values, { partition, sequence })
    const outcome = await recorded(
      this.#lab.history,
      {
        type: 'write',
        process: name,
        records: values.map((value) => ({ topicId: this.#topic.name, partition, value })),
        producer: { id: producerId, epoch: producerEpoch, sequence },
      },
      () => this.#send(batch),
      ({ baseOffset }) => values.map((_value, i) => ({ partition, offset: baseOffset + i })),
    )
    if ('error' in outcome) return this.#refused(outcome.error)
    this.#sequences.set(partition, sequence + values.length)
    if (random.chance(0.2)) await this.#repeat(batch, outcome.answer)
  }

  /** What was answered is there: the same batch has the same offsets, however often it is sent. */
  async #repeat(batch: Batch, { baseOffset }: ProduceAck): Promise<void> {
    const again = await this.#send(batch).catch((error: unknown) => this.#refused(error))
    if (again === undefined || again.baseOffset === baseOffset) return
    throw new Error(`a batch at offset ${baseOffset} was sent again, and is at ${again.baseOffset}`)
  }

  /** Throws unless it may go on: a fenced one tries again now and then, with the same sequence. */
  #refused(error: unknown): undefined {
    const { code, outcome } = error as { code?: string; outcome?: string }
    assertPossible(error)
    if (code !== 'PRODUCER_FENCED' && !isPassing(error)) throw error
    if (code === 'PRODUCER_FENCED' && outcome !== 'unknown' && this.#process.random.chance(0.5)) return
    throw new ReignOver()
  }

  #batch(values: readonly string[], { partition, sequence }: { partition: number; sequence: number }): Batch {
    const builder = new RecordBatchBuilder()
    const { random } = this.#process
    for (const value of values) {
      builder.append({
        key: null,
        value: payloadOf(value, random.pick([0, 100, 1_000])),
        timestamp: Date.now(),
      })
    }
    const { payload, recordCount, baseTimestamp } = builder.finish()
    return {
      topicId: this.#topicId,
      partition,
      producerId: this.#identity.producerId,
      producerEpoch: this.#identity.producerEpoch,
      baseSequence: sequence,
      attributes: COMPRESSION.none,
      baseTimestamp,
      recordCount,
      inflatedBytes: payload.length,
      payloadCrc: crc32(payload),
      payload: payload.slice(),
    }
  }

  /** Sends a batch until it is answered or refused for good, on one connection after the other. */
  async #send(batch: Batch): Promise<ProduceAck> {
    let isMaybeWritten = false
    for (let left = this.#process.random.pick([1, 3, 20]); ; left--) {
      try {
        return await this.#sendOnce(batch)
      } catch (thrown) {
        const error = thrown as MillraceError
        if (error.outcome === 'unknown') isMaybeWritten = true
        const outcome = isMaybeWritten ? 'unknown' : 'notWritten'
        const { code, message, retriable } = error
        if (!retriable || left === 1) throw new MillraceError(code, { message, retriable, outcome })
        await this.#process.sleep(error.retryAfterMs ?? 20)
      }
    }
  }

  #sendOnce(batch: Batch): Promise<ProduceAck> {
    return new Promise((resolve, reject) => {
      const ready = (link: Link): void => {
        const write = (correlationId: number): unknown[] => produce.write({ correlationId, ...batch })
        const answered = (): void => reject(new Error('a PRODUCE was answered with something else'))
        link.produce(write, { wireBytes: batch.payload.length, acked: resolve, answered, failed: reject })
      }
      this.#connection.whenReady({ ready, failed: reject })
    })
  }
}
