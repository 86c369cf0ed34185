import { initProducer, type ProduceAck, produce, producerReady } from '../../protocol/messages/index.js'
import type { PreparedBatch } from './batch.js'
import type { LoadClock } from './clock.js'
import { randomId } from './ids.js'
import type { LoadTopic } from './load-topic.js'
import type { Measures } from './measures.js'
import type { Session } from './session.js'

export interface ProducerOptions {
  readonly session: Session
  readonly topic: LoadTopic
  readonly batch: PreparedBatch
  readonly measures: Measures
  readonly clock: LoadClock
  /** Unanswered batches. */
  readonly inFlight: number
  /** Records a second; 0 sends as soon as an ack makes room. */
  readonly recordsPerSecond: number
}

/** How often a producer with a rate looks for batches that are due. */
const TICK_MS = 5
const DRAIN_MS_MAX = 30_000

/**
 * Sends one prepared batch again and again, round robin over the partitions, as an idempotent producer. With a rate it is
 * an open loop: a batch that has to wait for room is timed from when it was due, so that a stall is not left out.
 */
export class LoadProducer {
  readonly #options: ProducerOptions
  /** By partition. */
  readonly #sequences: number[]
  readonly #ackedEnds: number[]
  #producer = { id: 0, epoch: 0 }
  #startedAt = 0
  #sent = 0
  #unanswered = 0
  #isStopping = false
  #stopTicking: () => void = () => {}
  #drained: () => void = () => {}

  constructor(options: ProducerOptions) {
    this.#options = options
    this.#sequences = new Array<number>(options.topic.partitions).fill(0)
    this.#ackedEnds = new Array<number>(options.topic.partitions).fill(0)
  }

  start(): void {
    const { session, clock, recordsPerSecond } = this.#options
    session.ask(
      (correlationId) => initProducer.write({ correlationId, requestId: randomId(), name: null }),
      (frame) => {
        const { producerId, producerEpoch } = producerReady.read(frame)
        this.#producer = { id: producerId, epoch: producerEpoch }
        this.#startedAt = clock.now()
        if (recordsPerSecond > 0) this.#stopTicking = clock.every(TICK_MS, () => this.#fill())
        session.onClosed(this.#stopTicking)
        this.#fill()
      },
    )
  }

  /** Sends no more; `done` is called when every batch is answered, or reported as unanswered. */
  stop(done: () => void): void {
    this.#isStopping = true
    this.#stopTicking()
    if (this.#unanswered === 0) {
      done()
      return
    }
    const stopWaiting = this.#options.clock.after(DRAIN_MS_MAX, () => {
      this.#drained = () => {}
      this.#options.measures.wrong('unanswered', `${this.#unanswered} batches have no ack`)
      done()
    })
    this.#drained = () => {
      stopWaiting()
      done()
    }
  }

  #fill(): void {
    const { inFlight, session } = this.#options
    while (!this.#isStopping && !session.isClosed && this.#unanswered < inFlight) {
      const dueAt = this.#dueAt()
      if (dueAt === undefined) return
      this.#send(dueAt)
    }
  }

  /** When the next batch was to be sent; undefined while that is in the future. */
  #dueAt(): number | undefined {
    const { clock, recordsPerSecond, batch } = this.#options
    const now = clock.now()
    if (recordsPerSecond === 0) return now
    const dueAt = this.#startedAt + (this.#sent * batch.recordCount * 1000) / recordsPerSecond
    return dueAt <= now ? Math.floor(dueAt) : undefined
  }

  #send(dueAt: number): void {
    const { session, topic, batch } = this.#options
    const partition = this.#sent++ % topic.partitions
    const baseSequence = this.#sequences[partition]!
    this.#sequences[partition] = baseSequence + batch.recordCount
    this.#unanswered++
    session.produce(
      (correlationId) =>
        produce.write({
          correlationId,
          topicId: topic.topicId,
          partition,
          producerId: this.#producer.id,
          producerEpoch: this.#producer.epoch,
          baseSequence,
          attributes: 0,
          baseTimestamp: dueAt,
          recordCount: batch.recordCount,
          inflatedBytes: batch.payload.length,
          payloadCrc: batch.payloadCrc,
          payload: batch.payload,
        }),
      (ack) => this.#acked(ack, partition, dueAt),
      () => this.#answered(),
    )
  }

  #acked(ack: ProduceAck, partition: number, dueAt: number): void {
    const { measures, batch, clock } = this.#options
    const ackedEnd = this.#ackedEnds[partition]!
    const at = `partition ${partition}, offset ${ack.baseOffset}`
    if (ack.baseOffset < ackedEnd) measures.wrong('order', `${at}: acked after ${ackedEnd}`)
    // Nothing is ever sent twice here.
    if (ack.duplicate) measures.wrong('repeat', `${at}: the broker had seen the batch before`)
    this.#ackedEnds[partition] = ack.baseOffset + batch.recordCount
    measures.acked(clock.now() - dueAt)
    measures.produced(batch.recordCount)
    this.#answered()
  }

  #answered(): void {
    this.#unanswered--
    if (!this.#isStopping) this.#fill()
    else if (this.#unanswered === 0) this.#drained()
  }
}
