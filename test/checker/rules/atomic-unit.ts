import type { HistoryEvent } from '../history.js'
import { groupKey, type Observed, placeKey } from '../observed.js'
import type { PartitionLog, Sighting } from '../partition-log.js'
import type { AskedRecord, Write } from '../request.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

/** A record of a unit that must be visible, because another of the same unit was seen. */
interface Due {
  readonly index: number
  readonly offset: number
  readonly value: string
  readonly sign: HistoryEvent
}

/** The records of an atomic write are all there or none is, from one moment on; and the acks in it are given once. */
export const atomicUnit: Rule = {
  name: 'atomic-unit',
  promise: 'Atomic writes are there all or nothing, and at once.',
  *find(observed) {
    const due = new Map<string, Due[]>()
    for (const write of observed.writes) {
      if (!write.asked.atomic) continue
      const finding = torn(observed, write)
      if (finding !== undefined) yield finding
      for (const [key, one] of dueOf(observed, write)) {
        const known = due.get(key) ?? []
        due.set(key, known)
        known.push(one)
      }
    }
    for (const [key, log] of observed.logs) yield* early(log, due.get(key) ?? [])
    yield* acknowledgedTwice(observed)
  },
}

function torn(observed: Observed, write: Write): Finding | undefined {
  let there: Sighting | undefined
  let missing: AskedRecord | undefined
  for (const [position, record] of write.asked.records.entries()) {
    const sighting = observed.sightings.get(record.value)
    if (sighting !== undefined) there ??= sighting
    else if (isMissing(observed, { write, position, record })) missing ??= { write, position, record }
  }
  if (there === undefined || missing === undefined) return undefined
  return {
    message: `of one atomic write "${there.value}" is in ${there.log.name}, and "${missing.record.value}" is nowhere`,
    events: [...write.events, there.event],
  }
}

/** Whether a record that nobody saw would have been seen. */
function isMissing(observed: Observed, { write, position, record }: AskedRecord): boolean {
  const { topicId, dedupId } = record
  if (dedupId !== undefined || observed.gone.has(topicId)) return false
  const topic = observed.topics.get(topicId)
  if (topic?.compacted) return false
  const place = write.places[position]
  const partition = place?.partition ?? record.partition
  const partitions =
    partition === undefined ? Array.from({ length: topic?.partitions ?? 0 }, (_, i) => i) : [partition]
  if (partitions.length === 0) return false
  return partitions.every((one) => {
    const final = observed.logs.get(placeKey({ topicId, partition: one }))?.final
    return final !== undefined && (final.start === 0 || (place !== undefined && place.offset >= final.start))
  })
}

/** What the first sign of a unit promises of its other records. */
function* dueOf(observed: Observed, write: Write): Generator<[string, Due]> {
  if (write.asked.records.length < 2) return
  const sightings = write.asked.records.map(({ value }) => observed.sightings.get(value))
  let sign: HistoryEvent | undefined
  for (const sighting of sightings) {
    if (sighting !== undefined && sighting.event.index < (sign?.index ?? Number.POSITIVE_INFINITY))
      sign = sighting.event
  }
  if (sign === undefined) return
  for (const sighting of sightings) {
    if (sighting === undefined || sighting.event === sign) continue
    const { offset, value } = sighting
    yield [placeKey(sighting.log), { index: sign.index, offset, value, sign }]
  }
}

function* early(log: PartitionLog, due: readonly Due[]): Generator<Finding> {
  if (log.bounds.length === 0 || due.length === 0) return
  const highest = new RisingMax(due, { at: ({ index }) => index, offset: ({ offset }) => offset })
  for (const bounds of log.bounds) {
    const one = highest.before(bounds.since ?? bounds.index)
    if (one === undefined || bounds.endOffset > one.offset) continue
    yield {
      message: `${log.name} ended at ${bounds.endOffset} when another record of the atomic write of "${one.value}", which is at ${one.offset}, was seen already`,
      events: [one.sign, bounds],
    }
  }
}

/** Two atomic writes cannot both carry the ack of one cursor to the same place. */
function* acknowledgedTwice(observed: Observed): Generator<Finding> {
  const carried = new Map<string, Write>()
  for (const write of observed.writes) {
    const [first] = write.asked.records
    if (first === undefined || write.isRefused) continue
    const seen = observed.sightings.get(first.value)
    if (!write.isDone && seen === undefined) continue
    for (const ack of write.asked.acks ?? []) {
      if (ack.kind !== 'cursor') continue
      const key = groupKey(ack.group, ack)
      if ((observed.cursors.get(key)?.resets.length ?? 0) > 0) continue
      const before = carried.get(`${key}|${ack.offset}`)
      carried.set(`${key}|${ack.offset}`, write)
      if (before === undefined || before.asked.records[0]?.value === first.value) continue
      yield {
        message: `group "${ack.group}" acknowledged ${observed.log(ack).name} up to ${ack.offset} with two atomic writes, of "${before.asked.records[0]?.value}" and of "${first.value}", and both are done`,
        events: [...before.events, ...write.events],
      }
    }
  }
}
