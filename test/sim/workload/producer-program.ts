import type { Producer, ProducerOptions } from '../../../client/index.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, placeOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, type WorkTopic } from './topics.js'

/** Sends records in a stream of its own, several at a time, for as long as the run lasts. */
export async function produce(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const { client, random, name } = process
  const { history } = lab
  const options: ProducerOptions = {
    // Whoever has it takes it from whoever had it.
    ...(random.chance(0.3) && { name: `${topic.name} producer` }),
    compression: random.pick(['none', 'none', 'gzip']),
    lingerMs: random.pick([0, 0, 5]),
    batchBytes: random.pick([500, 8_000]),
    maxInFlight: random.pick([1, 5, 16]),
    deliveryTimeoutMs: random.pick([1_000, 20_000, 120_000]),
  }
  const newProducer = (): Producer<WorkTopic['topic']> => client.producer(topic.topic, options)
  let producer = newProducer()
  let producers = 1
  const fillers = random.pick([
    [0, 30],
    [0, 300, 3_000],
    [2_000, 9_000],
  ])
  const burst = random.pick([1, 3, 10])
  const pending = new Set<Promise<unknown>>()
  for (let i = 0; !process.isEnding; ) {
    for (let left = 1 + random.below(burst); left > 0; left--) {
      const value = `${name}/${i++}`
      const partition = random.below(topic.partitions)
      const record = {
        value: payloadOf(value, random.pick(fillers)),
        partition,
        key: random.pick([null, name]),
      }
      const used = producer
      const sending = recorded(
        history,
        {
          type: 'write',
          process: name,
          // Between two producers of one program there is no order.
          stream: `${name}#${producers}`,
          records: [{ topicId: topic.name, partition, value }],
        },
        () => used.send(record),
        (result) => [placeOf(result)],
      )
      const watched = sending.then((outcome) => {
        pending.delete(watched)
        if (!('error' in outcome)) return
        assertPossible(outcome.error)
        // One with a name stops when it is fenced, and when it cannot tell whether it was.
        if (options.name === undefined || producer !== used) return
        void used.close().catch(() => {})
        producer = newProducer()
        producers++
      })
      pending.add(watched)
    }
    // Those who use the records need more events for each than whoever makes them.
    await process.sleep(1 + 4 * thinkMs(lab, random))
    while (pending.size > 2 * burst) await Promise.race(pending)
  }
  await Promise.all(pending)
}
