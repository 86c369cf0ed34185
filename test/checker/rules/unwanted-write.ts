import type { HistoryEvent } from '../history.js'
import type { Observed } from '../observed.js'
import type { Sighting } from '../partition-log.js'
import type { AskedRecord } from '../request.js'
import type { Finding, Rule } from '../rule.js'

/** Whatever is in the log was asked for, by somebody who was allowed to, and was not refused. */
export const unwantedWrite: Rule = {
  name: 'unwanted-write',
  promise: 'No aborted, refused, fenced or invented write is seen.',
  *find(observed) {
    for (const log of observed.logs.values()) {
      const topic = observed.topics.get(log.topicId)
      if (topic?.writtenByBroker) continue
      for (const sighting of log.seen.values()) {
        // What a fork has of its source is judged by a rule of its own.
        if (sighting.offset < (topic?.fork?.offset ?? 0)) continue
        const finding = unwanted(observed, sighting)
        if (finding !== undefined) yield finding
      }
    }
    yield* fenced(observed)
  },
}

function unwanted(observed: Observed, sighting: Sighting): Finding | undefined {
  const asked = observed.asked(sighting.value)
  if (asked.some((one) => fits(one, sighting) && isAllowed(one, sighting))) return undefined
  const { log, offset, value, event } = sighting
  const here = asked.filter((one) => fits(one, sighting))
  const why =
    asked.length === 0
      ? 'nobody wrote it'
      : here.length === 0
        ? 'it was written elsewhere'
        : here.every(({ write }) => write.isRefused)
          ? 'it was refused'
          : 'nobody had asked for it yet'
  const events = (here.length === 0 ? asked : here).flatMap(({ write }) => write.events)
  return {
    message: `"${value}" is at offset ${offset} of ${log.name}, and ${why}`,
    events: [...events, event],
  }
}

function fits({ record }: AskedRecord, { log, offset }: Sighting): boolean {
  const { topicId, partition, expectedOffset } = record
  const isHere = topicId === log.topicId && (partition ?? log.partition) === log.partition
  return isHere && (expectedOffset ?? offset) === offset
}

const isAllowed = ({ write }: AskedRecord, { event }: Sighting): boolean =>
  !write.isRefused && write.asked.index < event.index

/** A producer whose epoch was known to be over when it asked. */
function* fenced(observed: Observed): Generator<Finding> {
  const epochs = new Map<number, { epoch: number; event: HistoryEvent }[]>()
  for (const event of observed.producers) {
    const known = epochs.get(event.producerId) ?? []
    known.push({ epoch: event.epoch, event })
    epochs.set(event.producerId, known)
  }
  for (const write of observed.writes) {
    const { producer, index, records } = write.asked
    if (producer === undefined || write.isRefused) continue
    const newer = epochs
      .get(producer.id)
      ?.find(({ epoch, event }) => epoch > producer.epoch && event.index < index)
    if (newer === undefined) continue
    const seen = records
      .map(({ value }) => observed.sightings.get(value))
      .find(
        (sighting) =>
          sighting !== undefined &&
          sighting.event.index > index &&
          observed.asked(sighting.value).every(({ write: other }) => other.asked.index >= index),
      )
    if (!write.isDone && seen === undefined) continue
    yield {
      message: `producer ${producer.id} wrote with epoch ${producer.epoch} when it was at ${newer.epoch}`,
      events: [newer.event, ...write.events, ...(seen === undefined ? [] : [seen.event])],
    }
  }
}
