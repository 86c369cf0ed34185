import type { Observed } from '../observed.js'
import type { PartitionLog } from '../partition-log.js'
import type { AskedRecord, Write } from '../request.js'
import type { Finding, Rule } from '../rule.js'

/** Every record whose write was answered is in the log, where the answer said, until retention or a deletion takes it. */
export const lostWrite: Rule = {
  name: 'lost-write',
  promise: 'No acknowledged write is lost.',
  *find(observed) {
    for (const write of observed.writes) {
      if (!write.isDone) continue
      for (const [position, place] of write.places.entries()) {
        const record = write.asked.records[position]
        if (record === undefined || observed.gone.has(record.topicId)) continue
        if (observed.topics.get(record.topicId)?.compacted) continue
        const log = observed.log({ topicId: record.topicId, partition: place.partition })
        const asked = { write, position, record }
        const { offset } = place
        const finding = place.duplicate
          ? duplicateOf(observed, log, offset, asked)
          : missing(log, offset, asked)
        if (finding !== undefined) yield finding
      }
      if (write.end?.type === 'done') yield* nowhere(observed, write)
    }
  },
}

/** It was not said where they are, so they may be anywhere. */
function* nowhere(observed: Observed, write: Write): Generator<Finding> {
  for (const { value, topicId, partition = 0 } of write.asked.records) {
    const { final, name } = observed.log({ topicId, partition })
    const isAnywhere = observed.sightings.has(value) || final === undefined
    if (isAnywhere || final.start > 0 || observed.gone.has(topicId)) continue
    yield {
      message: `"${value}" was acknowledged, and is nowhere in ${name}`,
      events: [...write.events, ...final.events.slice(-1)],
    }
  }
}

function missing(log: PartitionLog, offset: number, { write, record }: AskedRecord): Finding | undefined {
  const seen = log.seen.get(offset)
  // A reader that saw it does not make up for one that did not.
  if (seen?.value === record.value && !isMissed(log, offset)) return undefined
  const acknowledged = `"${record.value}" was acknowledged at offset ${offset} of ${log.name}`
  if (seen !== undefined && seen.value !== record.value)
    return { message: `${acknowledged}, where "${seen.value}" is`, events: [...write.events, seen.event] }
  return absent(log, offset, acknowledged, write.events)
}

const isMissed = ({ absent, final }: PartitionLog, offset: number): boolean =>
  absent.has(offset) || (final !== undefined && offset >= final.end)

/** The answer to a duplicate names the record that was there first. */
function duplicateOf(
  observed: Observed,
  log: PartitionLog,
  offset: number,
  { write, record }: AskedRecord,
): Finding | undefined {
  const answered = `"${record.value}" was refused as a duplicate of offset ${offset} of ${log.name}`
  const seen = log.seen.get(offset)
  if (seen === undefined) return absent(log, offset, answered, write.events)
  const isFirst = observed
    .asked(seen.value)
    .some((first) => first.record.dedupId === record.dedupId && first.record.topicId === record.topicId)
  if (isFirst) return undefined
  return {
    message: `${answered}, where "${seen.value}" is, which has not the dedup id "${record.dedupId}"`,
    events: [...write.events, seen.event],
  }
}

function absent(
  log: PartitionLog,
  offset: number,
  what: string,
  events: Finding['events'],
): Finding | undefined {
  const passed = log.absent.get(offset)
  if (passed !== undefined)
    return { message: `${what}, and a reader found nothing there`, events: [...events, passed] }
  if (log.final === undefined || offset < log.final.end) return undefined
  const end = log.final.events.at(-1)
  return {
    message: `${what}, and the log ends at ${log.final.end}`,
    events: end === undefined ? events : [...events, end],
  }
}
