import { NO_PRODUCER_ID } from '../../protocol/entry.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { ProducerBatch } from '../manifest/rows.js'
import { AppendCommand } from './append-command.js'
import type { AppendBatch } from './batch-check.js'
import type { PartitionState, ShardState } from './state.js'

export interface AppendAck {
  readonly baseOffset: number
  /** Broker time, milliseconds. */
  readonly appendTime: number
  /** The batch had been written before; these are its first offsets. */
  readonly duplicate: boolean
}

/** What becomes of a batch: a command to write, or the answer that its first writing got or will get. */
export type Sequenced =
  | { readonly kind: 'append'; readonly command: AppendCommand }
  | { readonly kind: 'duplicate'; readonly ack: AppendAck }
  /** The original is in the group that is being cut: answer with it. */
  | { readonly kind: 'duplicateInGroup'; readonly ack: AppendAck }

interface Pending {
  readonly producerEpoch: number
  readonly batches: ProducerBatch[]
}

/**
 * Gives batches their offsets while a group is cut. Every refusal that depends on state happens here, synchronously,
 * so that no two requests can race; after it there is only commit or death. It sees the applied state and, on top of
 * it, the batches that this group has taken already.
 */
export class Sequencer {
  readonly #state: ShardState
  readonly #pending = new Map<PartitionState, Map<number, Pending>>()

  constructor(state: ShardState) {
    this.#state = state
  }

  /** Forgets the group that was cut: it is applied now. */
  reset(): void {
    this.#pending.clear()
  }

  /** Throws the reason for a refusal; then nothing was assigned. */
  sequence(batch: AppendBatch, at: { record: number; time: number }): Sequenced {
    const topic = this.#state.topics.get(batch.topicId)
    if (topic === undefined || topic.deleting) throw new MillraceError('UNKNOWN_TOPIC')
    const partition = topic.partitions[batch.partition]
    if (partition === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    if (batch.producerId !== null) {
      const earlier = this.#earlier(partition, { ...batch, producerId: batch.producerId })
      if (earlier !== undefined) return earlier
    }
    return { kind: 'append', command: this.#assign(partition, batch, at) }
  }

  #assign(
    partition: PartitionState,
    batch: AppendBatch,
    at: { record: number; time: number },
  ): AppendCommand {
    const baseOffset = partition.assignedEnd
    partition.assignedEnd = baseOffset + batch.recordCount
    const command = new AppendCommand({
      record: at.record,
      partitionState: partition,
      payload: batch.payload,
      header: {
        attributes: batch.attributes,
        payloadCrc: batch.payloadCrc,
        topicId: batch.topicId,
        partition: batch.partition,
        baseOffset,
        lastOffsetDelta: batch.recordCount - 1,
        recordCount: batch.recordCount,
        appendTime: at.time,
        baseTimestamp: batch.baseTimestamp,
        producerId: batch.producerId ?? NO_PRODUCER_ID,
        producerEpoch: batch.producerEpoch,
        baseSequence: batch.baseSequence,
        sectionBytes: 0,
        sectionCrc: 0,
        payloadBytes: batch.payload.length,
        inflatedBytes: batch.inflatedBytes,
      },
    })
    if (batch.producerId !== null) this.#remember(partition, command)
    return command
  }

  #remember(partition: PartitionState, { header }: AppendCommand): void {
    let producers = this.#pending.get(partition)
    if (producers === undefined) {
      producers = new Map()
      this.#pending.set(partition, producers)
    }
    let pending = producers.get(header.producerId)
    if (pending === undefined || pending.producerEpoch !== header.producerEpoch) {
      pending = { producerEpoch: header.producerEpoch, batches: [] }
      producers.set(header.producerId, pending)
    }
    pending.batches.push({
      baseSequence: header.baseSequence,
      lastSequence: header.baseSequence + header.recordCount - 1,
      baseOffset: header.baseOffset,
      appendTime: header.appendTime,
    })
  }

  /** The first answer to a batch that is here already; undefined when it is the next one in sequence. */
  #earlier(partition: PartitionState, batch: AppendBatch & { producerId: number }): Sequenced | undefined {
    this.#checkEpoch(batch)
    const row = partition.producers.get(batch.producerId)
    if (row !== undefined && row.producerEpoch > batch.producerEpoch)
      throw new MillraceError('PRODUCER_FENCED')
    const applied = row !== undefined && row.producerEpoch === batch.producerEpoch ? row.batches : []
    const found = this.#pending.get(partition)?.get(batch.producerId)
    const pending = found?.producerEpoch === batch.producerEpoch ? found.batches : []
    const last = pending.at(-1) ?? applied.at(-1)
    const expected = last === undefined ? 0 : last.lastSequence + 1
    if (batch.baseSequence === expected) return undefined
    if (batch.baseSequence > expected) {
      throw new MillraceError('SEQUENCE_GAP', {
        message: `the next sequence of this producer is ${expected}, the batch begins with ${batch.baseSequence}`,
        details: { expectedSequence: expected },
      })
    }
    const isSame = (known: ProducerBatch): boolean =>
      known.baseSequence === batch.baseSequence &&
      known.lastSequence === batch.baseSequence + batch.recordCount - 1
    const inGroup = pending.find(isSame)
    if (inGroup !== undefined) return { kind: 'duplicateInGroup', ack: duplicateOf(inGroup) }
    const known = applied.find(isSame)
    if (known !== undefined) return { kind: 'duplicate', ack: duplicateOf(known) }
    const oldest = applied[0] ?? pending[0]
    if (oldest !== undefined && batch.baseSequence >= oldest.baseSequence) {
      throw new MillraceError('BAD_BATCH', {
        message: `sequence ${batch.baseSequence} was used for a batch of another size`,
      })
    }
    throw new MillraceError('DUPLICATE_TOO_OLD')
  }

  #checkEpoch(batch: AppendBatch & { producerId: number }): void {
    const { producerId, producerEpoch } = batch
    if (producerId === NO_PRODUCER_ID || producerId >= this.#state.nextProducerId) {
      throw new MillraceError('UNKNOWN_PRODUCER', {
        message: `producer id ${producerId} was never given out`,
      })
    }
    const current = this.#state.producerNamesById.get(producerId)?.producerEpoch ?? 0
    if (producerEpoch < current) throw new MillraceError('PRODUCER_FENCED')
    if (producerEpoch > current) {
      throw new MillraceError('UNKNOWN_PRODUCER', {
        message: `producer id ${producerId} has epoch ${current}, not ${producerEpoch}`,
      })
    }
  }
}

const duplicateOf = (batch: ProducerBatch): AppendAck => ({
  baseOffset: batch.baseOffset,
  appendTime: batch.appendTime,
  duplicate: true,
})
