import { PRODUCER_WINDOW_BATCHES } from '../../protocol/limits.js'
import type { ProducerRow } from '../manifest/rows.js'
import { answerRequest } from './apply-request.js'
import type { ProducerNamesExpired, ProducerRegistered, ProducersExpired } from './command-codec/producers.js'
import type { PartitionState, ProducerState, ShardState } from './state.js'

interface SequencedBatch {
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordCount: number
  readonly baseOffset: number
  readonly appendTime: number
}

/** The producer's next batch in this partition. */
export function advanceProducer(state: ShardState, partition: PartitionState, entry: SequencedBatch): void {
  const batch = {
    baseSequence: entry.baseSequence,
    lastSequence: entry.baseSequence + entry.recordCount - 1,
    baseOffset: entry.baseOffset,
    appendTime: entry.appendTime,
  }
  let row = partition.producers.get(entry.producerId)
  if (row === undefined) {
    row = newProducer(partition, entry)
    partition.producers.set(entry.producerId, row)
    state.producerWindows++
  }
  if (row.producerEpoch !== entry.producerEpoch) {
    row.producerEpoch = entry.producerEpoch
    row.batches = []
  }
  row.lastSeen = entry.appendTime
  row.batches.push(batch)
  if (row.batches.length > PRODUCER_WINDOW_BATCHES) row.batches.shift()
  state.overlay.producers.add(row)
}

const newProducer = (partition: PartitionState, entry: SequencedBatch): ProducerState => ({
  producerId: entry.producerId,
  topicId: partition.topicId,
  partition: partition.partition,
  producerEpoch: entry.producerEpoch,
  lastSeen: entry.appendTime,
  batches: [],
})

export function registerProducer(state: ShardState, command: ProducerRegistered, time: number): void {
  const { name, producerId, producerEpoch, requestId } = command
  const before = state.producerNames.get(name)
  if (before !== undefined) state.overlay.producerNames.delete(before)
  const row = { name, producerId, producerEpoch, lastSeen: time }
  state.setProducerName(row)
  state.nextProducerId = Math.max(state.nextProducerId, producerId + 1)
  state.overlay.producerNames.add(row)
  answerRequest(state, requestId, { time, result: { producerId, producerEpoch } })
}

export function expireWindows(state: ShardState, { windows }: ProducersExpired): void {
  for (const { producerId, topicId, partition } of windows) {
    const producers = state.partition(topicId, partition)?.producers
    const row = producers?.get(producerId)
    if (producers === undefined || row === undefined) continue
    producers.delete(producerId)
    dropWindow(state, row)
  }
}

export function expireNames(state: ShardState, { names }: ProducerNamesExpired): void {
  const ids = new Set<number>()
  for (const name of names) {
    const row = state.producerNames.get(name)
    if (row === undefined) continue
    ids.add(row.producerId)
    state.producerNames.delete(name)
    state.producerNamesById.delete(row.producerId)
    state.overlay.producerNames.delete(row)
    state.overlay.deletedProducerNames.push({ name })
  }
  if (ids.size === 0 || state.producerWindows === 0) return
  for (const { partitions } of state.topics.values()) {
    for (const { producers } of partitions) {
      for (const row of producers.values()) {
        if (!ids.has(row.producerId)) continue
        producers.delete(row.producerId)
        dropWindow(state, row)
      }
    }
  }
}

/** Counts out a window that is in no partition any more. */
export function dropWindow(state: ShardState, row: ProducerRow): void {
  state.producerWindows--
  state.overlay.producers.delete(row)
  state.overlay.deletedProducers.push(row)
}
