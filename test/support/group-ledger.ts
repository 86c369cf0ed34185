import type { ReadRecord, SendResult } from '../../client/index.js'

/**
 * What a consumer group was given of a topic, and which of its acknowledgements were answered. Throws at once when a
 * record comes that was acknowledged, or when one was left out.
 */
export class GroupLedger {
  readonly #name: string
  readonly #given = new Map<number, unknown[]>()
  /** Behind the last record whose ack was answered. */
  readonly #answered = new Map<number, number>()
  /** Records that came more than once. */
  again = 0

  constructor(name: string) {
    this.#name = name
  }

  /** Call it before anything else is done with the record. */
  given({ partition, offset, value }: ReadRecord): void {
    const values = this.#given.get(partition) ?? []
    this.#given.set(partition, values)
    const answered = this.#answered.get(partition) ?? 0
    if (offset < answered)
      throw new Error(
        `${this.#name}: ${partition}/${offset} was given again, and all below ${answered} is acknowledged`,
      )
    if (offset > values.length)
      throw new Error(`${this.#name}: ${partition}/${offset} was given, and ${values.length} was due`)
    if (offset < values.length) this.again++
    values[offset] = value
  }

  /** The promise of its `acked()` resolved. */
  acked({ partition, offset }: ReadRecord): void {
    this.#answered.set(partition, Math.max(this.#answered.get(partition) ?? 0, offset + 1))
  }

  /** Different records so far. */
  get records(): number {
    return [...this.#given.values()].reduce((sum, values) => sum + values.length, 0)
  }

  /** Of these, the first that it was not given, or was given with another value. */
  missing(sent: readonly Sent[]): Sent | undefined {
    return sent.find(({ partition, offset, value }) => this.#given.get(partition)?.[offset] !== value)
  }
}

/** A record whose send was answered. */
export interface Sent extends Pick<SendResult, 'partition' | 'offset'> {
  readonly value: unknown
}
