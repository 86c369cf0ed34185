import type { Partition, Seen, WrittenPlace } from '../history.js'

export interface ModelRecord {
  readonly value: string
  readonly dedupId?: string | undefined
}

/** A log that never loses anything. */
export class ModelPartition implements Partition {
  readonly topicId: string
  readonly partition: number
  start = 0
  /** undefined: a duplicate was left out. */
  readonly #values: (string | undefined)[] = []

  constructor({ topicId, partition }: Partition) {
    this.topicId = topicId
    this.partition = partition
  }

  get place(): Partition {
    return { topicId: this.topicId, partition: this.partition }
  }

  get end(): number {
    return this.#values.length
  }

  /** Writes a batch; records whose id is known are left out, and a batch of nothing else takes no offsets. */
  append(records: readonly ModelRecord[], ids: Map<string, WrittenPlace>): WrittenPlace[] {
    const known = records.map(({ dedupId }) => (dedupId === undefined ? undefined : ids.get(dedupId)))
    const isAllKnown = known.every((place) => place !== undefined)
    return records.map(({ value, dedupId }, i) => {
      const first = known[i]
      if (first !== undefined) {
        if (!isAllKnown) this.#values.push(undefined)
        return { ...first, duplicate: true }
      }
      const place = { partition: this.partition, offset: this.#values.push(value) - 1 }
      if (dedupId !== undefined) ids.set(dedupId, place)
      return place
    })
  }

  read(from: number, to: number): Seen[] {
    const seen: Seen[] = []
    for (let offset = from; offset < Math.min(to, this.end); offset++) {
      const value = this.#values[offset]
      if (value !== undefined) seen.push([offset, value])
    }
    return seen
  }
}
