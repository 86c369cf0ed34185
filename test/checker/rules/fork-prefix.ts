import type { Observed } from '../observed.js'
import type { PartitionLog, Sighting } from '../partition-log.js'
import type { Finding, Rule } from '../rule.js'

interface Fork {
  readonly topicId: string
  readonly offset: number
}

/** Below the place where it leaves its source a fork is the source, whatever became of that. */
export const forkPrefix: Rule = {
  name: 'fork-prefix',
  promise: 'A fork begins with what its source holds up to there, and with nothing else.',
  *find(observed) {
    for (const { topicId, fork } of observed.topics.values()) {
      if (fork === undefined || observed.gone.has(topicId)) continue
      const log = observed.log({ topicId, partition: 0 })
      for (const sighting of log.seen.values()) {
        const isOwn = sighting.offset >= fork.offset
        const finding = isOwn ? taken(observed, sighting, fork) : unlike(observed, sighting, fork)
        if (finding !== undefined) yield finding
      }
      yield* cutShort(log, fork)
      yield* writtenBelow(observed, log, fork)
    }
  },
}

function unlike(observed: Observed, sighting: Sighting, fork: Fork): Finding | undefined {
  const { log, offset, value, event } = sighting
  const source = observed.log({ topicId: fork.topicId, partition: 0 })
  const there = source.seen.get(offset)
  if (there?.value === value) return undefined
  const here = `"${value}" is at offset ${offset} of ${log.name}`
  if (there !== undefined)
    return { message: `${here}, and its source has "${there.value}" there`, events: [there.event, event] }
  const passed = source.absent.get(offset)
  if (passed !== undefined)
    return { message: `${here}, and its source has nothing there`, events: [passed, event] }
  // Nobody has looked at the source so far: then it is at least one that was written there, or above.
  const asked = observed.asked(value)
  if (asked.some(({ record, write }) => !write.isRefused && isAbove(observed, record.topicId, fork)))
    return undefined
  return {
    message: `${here}, and nobody wrote it to its source`,
    events: [...asked.flatMap(({ write }) => write.events), event],
  }
}

/** From the place where it leaves its source a fork has none of the source's records. */
function taken(observed: Observed, { log, offset, value, event }: Sighting, fork: Fork): Finding | undefined {
  const asked = observed.asked(value)
  if (asked.some(({ record }) => record.topicId === log.topicId)) return undefined
  if (!asked.some(({ record }) => isAbove(observed, record.topicId, fork))) return undefined
  return {
    message: `"${value}" is at offset ${offset} of ${log.name}, which left its source at ${fork.offset}, and was written to that`,
    events: [...asked.flatMap(({ write }) => write.events), event],
  }
}

/** Whether a topic is the source of a fork, or one that the source is itself a fork of. */
function isAbove(observed: Observed, topicId: string, fork: Fork): boolean {
  for (let at: Fork | undefined = fork; at !== undefined; at = observed.topics.get(at.topicId)?.fork)
    if (at.topicId === topicId) return true
  return false
}

function* cutShort({ final, name, absent }: PartitionLog, { offset }: Fork): Generator<Finding> {
  if (final !== undefined && final.end < offset)
    yield {
      message: `${name} is a fork from offset ${offset} on, and ends at ${final.end}`,
      events: final.events.slice(-1),
    }
  for (const [at, event] of absent) {
    if (at < offset) yield { message: `${name} is a fork, and has nothing at offset ${at}`, events: [event] }
  }
}

function* writtenBelow(observed: Observed, log: PartitionLog, { offset }: Fork): Generator<Finding> {
  for (const { asked, places, events } of observed.writes) {
    if (asked.records[0]?.topicId !== log.topicId) continue
    const below = places.find((place) => place.offset < offset)
    if (below !== undefined)
      yield { message: `${log.name} is its source's below ${offset}, and took a write there`, events }
  }
}
