import { crc32 } from '#crc32'
import { type EntryHeader, NO_PRODUCER_ID } from '../../protocol/entry.js'
import { writeSection } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { DuplicateRecord } from '../../protocol/messages/checked-produce.js'
import type { ProducerBatch } from '../manifest/rows.js'
import type { PlantedFault } from '../platform/planted-faults.js'
import { AppendCommand } from './append-command.js'
import type { AppendBatch } from './batch-check.js'
import type { ProducerAdvanced } from './command-codec/producers.js'
import { type BatchWithIds, CutIds, hasIds } from './cut-ids.js'
import { CutMemory } from './cut-memory.js'
import type { PartitionState, ShardState } from './state.js'

export interface AppendAck {
  readonly baseOffset: number
  /** Broker time, milliseconds. */
  readonly appendTime: number
  /** The batch had been written before; these are its first offsets. */
  readonly duplicate: boolean
  /** Records left out because their dedup id was there already; null for none. */
  readonly duplicates: readonly DuplicateRecord[] | null
}

export type { DuplicateRecord }

/** The ack of a batch that was written. */
export const ackOf = (
  { header }: AppendCommand,
  duplicates: readonly DuplicateRecord[] | null = null,
): AppendAck => ({
  baseOffset: header.baseOffset,
  appendTime: header.appendTime,
  duplicate: false,
  duplicates,
})

/** What becomes of a batch: a command to write, or the answer that its first writing got or will get. */
export type Sequenced =
  | { readonly kind: 'append'; readonly command: AppendCommand; readonly ack: AppendAck }
  /** Nothing of it is new, but its producer goes on. */
  | { readonly kind: 'advance'; readonly command: ProducerAdvanced; readonly ack: AppendAck }
  | { readonly kind: 'duplicate'; readonly ack: AppendAck }
  /** The original is in the group that is being cut: answer with it. */
  | { readonly kind: 'duplicateInGroup'; readonly ack: AppendAck }

/** Which WAL record of the group a command goes into, and the group's broker time. */
export interface CutPlace {
  readonly record: number
  readonly time: number
}

type Earlier = Extract<Sequenced, { kind: 'duplicate' | 'duplicateInGroup' }>

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
  /** Shared with the units of the same cut. */
  readonly ids: CutIds
  readonly #memory = new CutMemory()
  readonly #state: ShardState
  readonly #planted: PlantedFault | undefined
  readonly #pending = new Map<PartitionState, Map<number, Pending>>()

  /** `dedupBytesMax`: memory for dedup ids. */
  constructor({
    state,
    dedupBytesMax,
    planted,
  }: { state: ShardState; dedupBytesMax: number; planted?: PlantedFault | undefined }) {
    this.#state = state
    this.#planted = planted
    this.ids = new CutIds({ state, bytesMax: dedupBytesMax })
  }

  /** Forgets the group that was cut: it is applied now. */
  reset(): void {
    this.#pending.clear()
    this.ids.reset()
    this.#memory.reset()
  }

  /** Throws the reason for a refusal; then nothing was assigned. */
  sequence(batch: AppendBatch, at: CutPlace): Sequenced {
    const partition = this.target(batch)
    if (batch.producerId !== null) {
      const earlier = this.#earlier(partition, batch, batch.producerId)
      if (earlier !== undefined) return hasIds(batch) ? this.#retried(batch, earlier, at) : earlier
    }
    if (batch.expectedOffset !== null) checkExpected(batch.expectedOffset, partition.assignedEnd)
    if (hasIds(batch)) return this.#sequenceIds(partition, batch, at)
    const command = this.assign(partition, batch, at)
    return { kind: 'append', command, ack: ackOf(command) }
  }

  /** What the entry of a batch carries beside its payload. */
  section({ dedupIds }: BatchWithIds, omitted: Uint8Array | undefined): Uint8Array {
    return writeSection({ ids: dedupIds, omitted }, this.#memory.take)
  }

  /** Where a batch from outside goes. Throws UNKNOWN_TOPIC, UNKNOWN_PARTITION, TOPIC_READ_ONLY, STREAM_CLOSED, STREAM_DELETED. */
  target({ topicId, partition: number }: AppendBatch): PartitionState {
    const topic = this.#state.topics.get(topicId)
    if (topic === undefined || topic.deleting) throw new MillraceError('UNKNOWN_TOPIC')
    if (topic.row.internal) throw new MillraceError('TOPIC_READ_ONLY')
    topic.stream?.refuseRecords()
    const partition = topic.partitions[number]
    if (partition === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    return partition
  }

  /**
   * Gives a batch of the broker's own its offsets. Whoever decided on it knows that its topic is there and is not being
   * deleted; there is no refusal any more.
   */
  assignInternal(batch: AppendBatch, at: CutPlace): AppendCommand {
    const partition = this.#state.partition(batch.topicId, batch.partition)
    if (partition === undefined) throw new Error('a batch of the broker has no partition')
    return this.assign(partition, batch, at)
  }

  /** Gives a batch its offsets; whatever could refuse it has been asked. `section`: what its entry carries beside it. */
  assign(partition: PartitionState, batch: AppendBatch, at: CutPlace, section?: Uint8Array): AppendCommand {
    const baseOffset = partition.assignedEnd
    partition.assignedEnd = baseOffset + batch.recordCount
    const command = new AppendCommand({
      record: at.record,
      partitionState: partition,
      section,
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
        sectionBytes: section === undefined ? 0 : section.length,
        sectionCrc: section === undefined ? 0 : crc32(section),
        payloadBytes: batch.payload.length,
        inflatedBytes: batch.inflatedBytes,
      },
    })
    if (batch.producerId !== null) this.#remember(partition, command.header)
    return command
  }

  #sequenceIds(partition: PartitionState, batch: BatchWithIds, at: CutPlace): Sequenced {
    const { time } = at
    const baseOffset = partition.assignedEnd
    const { duplicates, omitted, isNothingNew, isInGroup } = this.ids.resolve(batch, { baseOffset, time })
    if (!isNothingNew) {
      const command = this.assign(partition, batch, at, this.section(batch, omitted))
      return { kind: 'append', command, ack: ackOf(command, duplicates) }
    }
    const ack = { baseOffset, appendTime: time, duplicate: false, duplicates }
    if (batch.producerId === null) return { kind: isInGroup ? 'duplicateInGroup' : 'duplicate', ack }
    const command = advanceOf(batch, { producerId: batch.producerId, baseOffset })
    this.#remember(partition, { ...command, appendTime: time })
    return { kind: 'advance', command, ack }
  }

  /** A batch that its producer sends again: some of its records may have been duplicates at the first time already. */
  #retried(batch: BatchWithIds, earlier: Earlier, at: CutPlace): Sequenced {
    const { baseOffset } = earlier.ack
    const duplicates = this.ids.ofRetry(batch, {
      baseOffset,
      time: at.time,
      isInGroup: earlier.kind === 'duplicateInGroup',
    })
    return { kind: earlier.kind, ack: { ...earlier.ack, duplicates } }
  }

  #remember(
    partition: PartitionState,
    header: Pick<
      EntryHeader,
      'producerId' | 'producerEpoch' | 'baseSequence' | 'recordCount' | 'baseOffset' | 'appendTime'
    >,
  ): void {
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
  #earlier(partition: PartitionState, batch: AppendBatch, producerId: number): Earlier | undefined {
    this.#checkEpoch(producerId, batch.producerEpoch)
    const row = partition.producers.get(producerId)
    if (row !== undefined && row.producerEpoch > batch.producerEpoch)
      throw new MillraceError('PRODUCER_FENCED')
    const isSameEpoch = row?.producerEpoch === batch.producerEpoch || this.#planted === 'oldEpochAnswered'
    const applied = row !== undefined && isSameEpoch ? row.batches : []
    const found = this.#pending.get(partition)?.get(producerId)
    const pending = found?.producerEpoch === batch.producerEpoch ? found.batches : []
    const last = pending.at(-1) ?? applied.at(-1)
    const expected = last === undefined ? 0 : last.lastSequence + 1
    if (batch.baseSequence === expected) return undefined
    const isUnchecked = this.#planted === 'sequenceUnchecked'
    if (batch.baseSequence > expected && !isUnchecked) {
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
    if (isUnchecked) return undefined
    const oldest = applied[0] ?? pending[0]
    if (oldest !== undefined && batch.baseSequence >= oldest.baseSequence) {
      throw new MillraceError('BAD_BATCH', {
        message: `sequence ${batch.baseSequence} was used for a batch of another size`,
      })
    }
    throw new MillraceError('DUPLICATE_TOO_OLD')
  }

  #checkEpoch(producerId: number, producerEpoch: number): void {
    if (producerId === NO_PRODUCER_ID || producerId >= this.#state.nextProducerId) {
      throw new MillraceError('UNKNOWN_PRODUCER', {
        message: `producer id ${producerId} was never given out`,
      })
    }
    const current = this.#state.producerNamesById.get(producerId)?.producerEpoch ?? 0
    if (producerEpoch < current && this.#planted !== 'staleProducerAccepted')
      throw new MillraceError('PRODUCER_FENCED')
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
  duplicates: null,
})

/** Throws EXPECTED_OFFSET_CONFLICT. `end`: what the partition's end will be when the batch is written. */
export function checkExpected(expectedOffset: number, end: number): void {
  if (expectedOffset === end) return
  throw new MillraceError('EXPECTED_OFFSET_CONFLICT', {
    message: `the partition ends at ${end}, not at ${expectedOffset}`,
    details: { expectedOffset, actualOffset: end },
  })
}

const advanceOf = (
  { topicId, partition, producerEpoch, baseSequence, recordCount }: AppendBatch,
  { producerId, baseOffset }: { producerId: number; baseOffset: number },
): ProducerAdvanced => ({
  type: 'producerAdvanced',
  ...{ producerId, producerEpoch, topicId, partition, baseSequence, recordCount, baseOffset },
})
