import { MillraceError } from '../../protocol/error-codes.js'
import type { ProducerTuple, StreamProducerRow, StreamRow } from '../manifest/rows.js'
import type { StreamMoved } from './command-codec/streams.js'

/** What makes a topic a stream, as it stands after the last applied group. */
export class StreamState {
  /** Replaced when it changes. */
  row: StreamRow
  /** By producer id. */
  readonly producers = new Map<string, StreamProducerRow>()
  /** Streams that read their beginning here. */
  forks = 0

  // Below: not state.
  /** Of the last access, logged or not. */
  accessedAt: number
  /** A group with its deletion is being written, but its forks keep it. */
  deleting = false
  /** What groups that are not applied yet have decided. */
  readonly cut = new StreamCut()

  constructor(row: StreamRow) {
    this.row = row
    this.accessedAt = row.accessedAt
  }

  /** Throws what stands against more records: UNKNOWN_TOPIC, STREAM_DELETED, STREAM_CLOSED. */
  refuseRecords(): void {
    const { deleted, closed, opened } = this.row
    if (deleted || this.deleting) throw new MillraceError('STREAM_DELETED')
    if (closed || this.cut.closing !== undefined) throw new MillraceError('STREAM_CLOSED')
    if (!opened) throw new MillraceError('UNKNOWN_TOPIC')
  }
}

/** The decisions on one stream that are on their way to the disk. */
export class StreamCut {
  readonly #moves: StreamMoved[] = []
  readonly #byProducer = new Map<string, StreamMoved>()

  take(move: StreamMoved): void {
    this.#moves.push(move)
    if (move.producer !== null) this.#byProducer.set(move.producer.producerId, move)
  }

  /** This one is part of the state now. */
  applied(move: StreamMoved): void {
    const index = this.#moves.indexOf(move)
    if (index === -1) return
    this.#moves.splice(index, 1)
    const { producer } = move
    if (producer !== null && this.#byProducer.get(producer.producerId) === move)
      this.#byProducer.delete(producer.producerId)
  }

  get isOpening(): boolean {
    return this.#moves.some(({ opens }) => opens)
  }

  /** The write that closes it. */
  get closing(): StreamMoved | undefined {
    return this.#moves.find(({ closes }) => closes)
  }

  /** The last `Stream-Seq`. */
  get seq(): string | undefined {
    return this.#moves.findLast(({ seq }) => seq !== null)?.seq ?? undefined
  }

  producer(producerId: string): ProducerTuple | undefined {
    return this.#byProducer.get(producerId)?.producer ?? undefined
  }

  /** How many producers have writes among them. */
  get producers(): number {
    return this.#byProducer.size
  }

  get isEmpty(): boolean {
    return this.#moves.length === 0
  }
}
