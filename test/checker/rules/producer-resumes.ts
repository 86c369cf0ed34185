import type { Write } from '../request.js'
import type { Rule } from '../rule.js'

/** What a producer is told of whom the broker knows less than it says: of its sequence, or of its epoch. */
const CODES = new Set(['SEQUENCE_GAP', 'ILLEGAL_ARGUMENT'])

/** What a broker knows of a producer is as durable as the producer's records: it never misses what it has acknowledged. */
export const producerResumes: Rule = {
  name: 'producer-resumes',
  promise: 'A producer goes on behind the last of its writes that was acknowledged.',
  *find(observed) {
    const byProducer = new Map<number, Write[]>()
    for (const write of observed.writes) {
      const id = write.asked.producer?.id
      if (id === undefined) continue
      const writes = byProducer.get(id) ?? []
      byProducer.set(id, writes)
      const before = writes.at(-1)
      writes.push(write)
      if (write.end?.type !== 'refused' || !CODES.has(write.end.code ?? '')) continue
      if (before !== undefined && !isNext(before, write)) continue
      if (before === undefined && write.asked.producer?.sequence !== 0) continue
      yield {
        message: `producer ${id} was told that something is missing before "${write.asked.records[0]?.value}", and nothing is`,
        events: [...(before?.events ?? []), ...write.events],
      }
    }
  },
}

/** Asked behind an acknowledged one, with the sequence behind it. */
function isNext({ asked, isDone, endIndex }: Write, next: Write): boolean {
  const [before, after] = [asked.producer, next.asked.producer]
  if (before === undefined || after === undefined || !isDone || endIndex > next.asked.index) return false
  return before.epoch === after.epoch && before.sequence + asked.records.length === after.sequence
}
