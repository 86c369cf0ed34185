import { MillraceError } from '../../protocol/error-codes.js'
import { STREAM_LIMITS } from '../../protocol/limits.js'
import type { ProducerTuple, StreamProducerRow } from '../manifest/rows.js'
import type { AppendCommand } from './append-command.js'
import type { AppendBatch } from './batch-check.js'
import type { StreamMoved } from './command-codec/streams.js'
import type { Command } from './commands.js'
import type { CutPlace, Sequencer } from './sequencer.js'
import type { PartitionState, ShardState, StreamState } from './state.js'
import { isExpired } from './stream-life.js'
import type { StreamWrite, StreamWritten } from './stream-write.js'

/** What becomes of a write to a stream: commands for one WAL record, or an answer that needs none. */
export interface SequencedStreamWrite {
  readonly appends: readonly AppendCommand[]
  readonly commands: readonly Command[]
  readonly written: StreamWritten
}

/** Who is forgotten, so that there is room for a producer. */
interface Room {
  /** Of the stream that it writes to. */
  readonly own: readonly StreamProducerRow[]
  readonly others: readonly StreamProducerRow[]
}

/** Producers that one write pushes out of other streams. */
const FORGOTTEN_MAX = 1_000

interface Place {
  readonly stream: StreamState
  readonly partition: PartitionState
  readonly time: number
}

/**
 * Takes writes to streams into the group that is being cut: closed or not, producers and `Stream-Seq`, against the state and
 * what groups that are not applied yet have decided. All checks come before the first change.
 */
export class StreamSequencer {
  readonly #state: ShardState
  readonly #sequencer: Sequencer
  readonly #producersMax: number

  /** `producersMax`: that all streams together remember. */
  constructor({
    state,
    sequencer,
    producersMax,
  }: { state: ShardState; sequencer: Sequencer; producersMax: number }) {
    this.#state = state
    this.#sequencer = sequencer
    this.#producersMax = producersMax
  }

  /**
   * Throws UNKNOWN_TOPIC, STREAM_DELETED, STREAM_CLOSED, PRODUCER_EPOCH_STALE, SEQUENCE_GAP, STREAM_SEQ_CONFLICT, LIMIT_REACHED,
   * ILLEGAL_ARGUMENT: then nothing was assigned.
   */
  sequence(write: StreamWrite, batches: readonly AppendBatch[], at: CutPlace): SequencedStreamWrite {
    const place = this.#place(write, at.time)
    const { stream, partition } = place
    const closing = closedBy(stream)
    if (closing !== undefined) return refuseOrRepeat(write, batches, closing.producer, place)
    if (write.producer !== null && isRepeated(write.producer, lastOf(stream, write.producer.producerId)))
      return repeated(write, place)
    const seq = stream.cut.seq ?? stream.row.seq
    if (write.seq !== null && seq !== null && write.seq <= seq)
      throw new MillraceError('STREAM_SEQ_CONFLICT', {
        message: 'Stream-Seq must be greater than that of the last write that had one',
      })
    const room = write.producer === null ? undefined : this.#roomFor(write.producer, place)

    const appends = batches.map((batch) => this.#sequencer.assign(partition, batch, at))
    const { topicId, closes, opens, producer } = write
    const written = {
      isDuplicate: false,
      nextOffset: partition.assignedEnd,
      isClosed: closes,
      producer,
    }
    // Records alone say all that there is to say: when they came stands with them.
    if (!closes && !opens && producer === null && write.seq === null)
      return { appends, commands: [], written }
    const move: StreamMoved = {
      type: 'streamMoved',
      topicId,
      closes,
      opens,
      producer,
      seq: write.seq,
      forgotten: room?.own.map((row) => row.producerId) ?? [],
    }
    if (room !== undefined) this.#take(room, move)
    stream.cut.take(move)
    const forgotten = namesOf(room?.others ?? [])
    const makesRoom: Command[] =
      forgotten.length === 0 ? [] : [{ type: 'streamProducersForgotten', producers: forgotten }]
    return { appends, commands: [...makesRoom, move], written }
  }

  /** Who is forgotten for a new producer; undefined: it is none. Throws LIMIT_REACHED. */
  #roomFor({ producerId }: ProducerTuple, { stream, time }: Place): Room | undefined {
    const all = this.#state.streamProducers
    const known = stream.producers.get(producerId)
    if (stream.cut.producer(producerId) !== undefined || (known !== undefined && !all.isGoing(known)))
      return undefined
    const idleBefore = time - STREAM_LIMITS.producerIdleMs
    const own = known === undefined ? roomIn(stream, idleBefore) : []
    const surplus = all.decided - own.filter((row) => !all.isGoing(row)).length + 1 - this.#producersMax
    if (surplus <= 0) return { own, others: [] }
    const owned = new Set(own)
    // More than one only where the broker was started with room for fewer.
    const others = all.silent(idleBefore, {
      countMax: Math.min(surplus, FORGOTTEN_MAX),
      isKept: (row) => owned.has(row) || this.#isWriting(row),
    })
    if (others.length === surplus || others.length === FORGOTTEN_MAX) return { own, others }
    throw new MillraceError('LIMIT_REACHED', {
      message: `all streams together have had ${this.#producersMax} producers within a week, as many as are remembered (producersMax)`,
    })
  }

  #isWriting({ topicId, producerId }: StreamProducerRow): boolean {
    return this.#state.topics.get(topicId)?.stream?.cut.producer(producerId) !== undefined
  }

  #take({ own, others }: Room, move: StreamMoved): void {
    const all = this.#state.streamProducers
    all.release(own)
    all.release(others)
    all.expect(move)
  }

  #place({ topicId, opens }: StreamWrite, time: number): Place {
    const topic = this.#state.topics.get(topicId)
    const [partition] = topic?.partitions ?? []
    const stream = topic?.stream
    if (topic === undefined || stream === undefined || partition === undefined || topic.deleting)
      throw new MillraceError('UNKNOWN_TOPIC')
    if (stream.row.deleted || stream.deleting) throw new MillraceError('STREAM_DELETED')
    const isOpened = stream.row.opened || stream.cut.isOpening
    if (isOpened === opens || isExpired(topic, time)) throw new MillraceError('UNKNOWN_TOPIC')
    return { stream, partition, time }
  }
}

/** Whether the stream is closed, or will be when what is decided is written; and by whom. */
function closedBy({ row, cut }: StreamState): { producer: ProducerTuple | null } | undefined {
  return row.closed ? { producer: row.closedBy } : cut.closing
}

function refuseOrRepeat(
  write: StreamWrite,
  batches: readonly AppendBatch[],
  closer: ProducerTuple | null,
  place: Place,
): SequencedStreamWrite {
  const { producer } = write
  const isItself = producer === null ? batches.length === 0 && write.closes : isSame(producer, closer)
  if (isItself) return repeated(write, place)
  throw new MillraceError('STREAM_CLOSED', { details: { nextOffset: place.partition.assignedEnd } })
}

const isSame = (a: ProducerTuple, b: ProducerTuple | null): boolean =>
  b !== null && a.producerId === b.producerId && a.epoch === b.epoch && a.seq === b.seq

const lastOf = (
  { cut, producers }: StreamState,
  producerId: string,
): { epoch: number; seq: number } | undefined => cut.producer(producerId) ?? producers.get(producerId)

/** True when the write was made before; false when it is the next one. Throws PRODUCER_EPOCH_STALE, ILLEGAL_ARGUMENT, SEQUENCE_GAP. */
function isRepeated(
  { epoch, seq }: ProducerTuple,
  last: { readonly epoch: number; readonly seq: number } | undefined,
): boolean {
  if (last !== undefined && epoch < last.epoch)
    throw new MillraceError('PRODUCER_EPOCH_STALE', { details: { epoch: last.epoch } })
  if (last !== undefined && epoch > last.epoch) {
    if (seq === 0) return false
    throw new MillraceError('ILLEGAL_ARGUMENT', { message: 'a new producer epoch begins with sequence 0' })
  }
  const expected = last === undefined ? 0 : last.seq + 1
  if (seq > expected)
    throw new MillraceError('SEQUENCE_GAP', {
      message: `the next sequence of this producer is ${expected}, not ${seq}`,
      details: { expectedSequence: expected, receivedSequence: seq },
    })
  return seq < expected
}

/** The answer to what was written before: where it is not on disk yet, a command of its own is, behind it. */
function repeated(write: StreamWrite, { stream, partition, time }: Place): SequencedStreamWrite {
  const { topicId, producer } = write
  const closing = closedBy(stream)
  const last = producer === null ? undefined : lastOf(stream, producer.producerId)
  const written = {
    isDuplicate: true,
    nextOffset: partition.assignedEnd,
    isClosed: closing !== undefined,
    producer: producer === null ? null : { ...producer, seq: last?.seq ?? producer.seq },
  }
  const isOnDisk = stream.cut.isEmpty
  const accesses = [{ topicId, accessedAt: time }]
  return { appends: [], commands: isOnDisk ? [] : [{ type: 'streamsAccessed', accesses }], written }
}

/** Those of the stream to forget, so that it has room for one more. Throws LIMIT_REACHED. */
function roomIn({ producers, cut }: StreamState, idleBefore: number): StreamProducerRow[] {
  if (producers.size + cut.producers < STREAM_LIMITS.producersMax) return []
  const idle = [...producers.values()].filter(
    (row) => row.lastSeen < idleBefore && cut.producer(row.producerId) === undefined,
  )
  if (idle.length > 0) return idle
  throw new MillraceError('LIMIT_REACHED', {
    message: `the stream has had ${STREAM_LIMITS.producersMax} producers within a week, as many as it remembers`,
  })
}

const namesOf = (rows: readonly StreamProducerRow[]) =>
  rows.map(({ topicId, producerId }) => ({ topicId, producerId }))
