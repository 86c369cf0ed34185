import type { Lab } from '../sim/lab.js'
import { produce } from '../sim/workload/producer-program.js'
import { read } from '../sim/workload/reader-program.js'
import { newTopic, type WorkTopic } from '../sim/workload/topics.js'

/** A few chunks: the broker deletes all the time. */
const BYTES_MAX = 48 * 1024

/** A topic that holds a few chunks and no more, whoever has read them. */
export function expire(lab: Lab): {
  readonly topic: WorkTopic
  readonly processes: readonly ReturnType<Lab['newProcess']>[]
} {
  const settings = { retention: { maxBytes: BYTES_MAX } }
  const topic = newTopic(lab, { name: 'expiring', partitions: 2, settings, expires: true })
  const producer = lab.newProcess('expiring-producer')
  const reader = lab.newProcess('expiring-reader')
  producer.run(() => produce(lab, producer, topic))
  reader.run(() => read(lab, reader, topic))
  return { topic, processes: [producer, reader] }
}
