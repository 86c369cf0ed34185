import type { HistoryEvent } from '../history.js'
import type { Observed } from '../observed.js'
import type { AskedRecord, Write } from '../request.js'
import type { Finding, Rule } from '../rule.js'

/** Where something is, by sight or by an answer. */
interface Found {
  readonly at: string
  readonly value: string
  readonly write: Write
  readonly event: HistoryEvent
}

/** What is sent again by an idempotent producer, in an atomic write or under a dedup id is in the log once. */
export const writtenOnce: Rule = {
  name: 'written-once',
  promise: 'Idempotent, atomic and dedup writes are there once.',
  *find(observed) {
    yield* valuesTwice(observed)
    yield* dedupIdsTwice(observed)
  },
}

function* valuesTwice(observed: Observed): Generator<Finding> {
  const counted = new Map<string, number>()
  for (const { value, offset, log, event } of observed.again) {
    const first = observed.sightings.get(value)
    if (first === undefined) continue
    const asked = observed.asked(value)
    const places = (counted.get(value) ?? 1) + 1
    counted.set(value, places)
    if (places <= asked.length && !asked.some(isOnce)) continue
    yield {
      message: `"${value}" is at offset ${first.offset} of ${first.log.name} and again at ${offset} of ${log.name}`,
      events: [...asked.flatMap(({ write }) => write.events), first.event, event],
    }
  }
}

const isOnce = ({ write: { asked }, record }: AskedRecord): boolean =>
  asked.stream !== undefined ||
  asked.producer !== undefined ||
  asked.atomic === true ||
  record.dedupId !== undefined

function* dedupIdsTwice(observed: Observed): Generator<Finding> {
  const found = new Map<string, Found>()
  for (const one of dedupPlaces(observed)) {
    const { key, ...place } = one
    const first = found.get(key)
    if (first === undefined) found.set(key, place)
    else if (first.at !== place.at && isWithinWindow(observed, first, place))
      yield {
        message: `dedup id "${key.slice(key.indexOf('|') + 1)}" is at ${first.at} as "${first.value}" and at ${place.at} as "${place.value}"`,
        events: [...first.write.events, first.event, ...place.write.events, place.event],
      }
  }
}

/** Every place at which a record with a dedup id is, or was answered to be. */
function* dedupPlaces(observed: Observed): Generator<Found & { key: string }> {
  for (const write of observed.writes) {
    for (const [i, { dedupId, value, topicId }] of write.asked.records.entries()) {
      if (dedupId === undefined) continue
      const key = `${topicId}|${dedupId}`
      const place = write.places[i]
      if (place !== undefined && write.end !== undefined) {
        const at = `${observed.log({ topicId, partition: place.partition }).name}/${place.offset}`
        yield { key, at, value, write, event: write.end }
      }
      const sighting = observed.sightings.get(value)
      if (sighting !== undefined && sighting.log.topicId === topicId) {
        yield { key, at: `${sighting.log.name}/${sighting.offset}`, value, write, event: sighting.event }
      }
    }
  }
}

/**
 * The window runs from one append to the other: they are at most as far apart as the first request for either and the last sign of
 * either.
 */
function isWithinWindow(observed: Observed, one: Found, other: Found): boolean {
  const topicId = one.write.asked.records[0]?.topicId ?? ''
  const windowMs = observed.topics.get(topicId)?.dedupWindowMs
  if (windowMs === undefined) return true
  const early = [one, other].map(({ write }) => write.asked.atMs)
  const late = [one, other].map(({ write, event }) => write.end?.atMs ?? event.atMs)
  const [from, to] = [Math.min(...early.map((ms) => ms ?? 0)), Math.max(...late.map((ms) => ms ?? 0))]
  return to - from < windowMs
}
