import type { EventOf } from '../history.js'
import type { Observed } from '../observed.js'
import type { PartitionLog, Sighting } from '../partition-log.js'
import type { Finding, Rule } from '../rule.js'

/** Where a record stands among those of its producer. */
interface Rank {
  readonly producer: string
  /** Compared one after the other. */
  readonly major: number
  readonly minor: number
}

/** A partition holds the records of one producer in the order in which it sent them. */
export const producerOrder: Rule = {
  name: 'producer-order',
  promise: 'The order of the records of one producer in one partition is kept.',
  *find(observed) {
    for (const log of observed.logs.values()) {
      // Dead letters stand in the order in which they were given up.
      if (!observed.topics.get(log.topicId)?.writtenByBroker) yield* outOfOrder(observed, log)
    }
  },
}

function* outOfOrder(observed: Observed, log: PartitionLog): Generator<Finding> {
  const last = new Map<string, { rank: Rank; sighting: Sighting }>()
  for (const sighting of [...log.seen.values()].sort((a, b) => a.offset - b.offset)) {
    for (const rank of ranksOf(observed, sighting.value)) {
      const before = last.get(rank.producer)
      last.set(rank.producer, { rank, sighting })
      if (before === undefined || isBefore(before.rank, rank)) continue
      yield {
        message: `${log.name}: "${sighting.value}" is at ${sighting.offset}, behind "${before.sighting.value}" at ${before.sighting.offset}, which ${rank.producer} sent later`,
        events: [before.sighting.event, sighting.event],
      }
    }
  }
}

function* ranksOf(observed: Observed, value: string): Generator<Rank> {
  // A record that was sent again stands where it was sent first.
  const first = observed.asked(value)[0]
  if (first === undefined) return
  const { index, stream, producer }: EventOf<'write'> = first.write.asked
  if (stream !== undefined) yield { producer: `stream ${stream}`, major: index, minor: first.position }
  if (producer !== undefined)
    yield {
      producer: `producer ${producer.id}`,
      major: producer.epoch,
      minor: producer.sequence + first.position,
    }
}

const isBefore = (a: Rank, b: Rank): boolean =>
  a.major < b.major || (a.major === b.major && a.minor < b.minor)
