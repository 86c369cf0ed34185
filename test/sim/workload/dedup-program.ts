import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, placeOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, type WorkTopic } from './topics.js'

/** How many ids behind the newest one are still raced for. */
const IDS_AT_ONCE = 6

/** Sends records under dedup ids that others send under too, at the same time, from other connections, to any partition. */
export async function raceForIds(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const { client, random, name } = process
  const producer = client.producer(topic.topic, {
    lingerMs: random.pick([0, 3]),
    deliveryTimeoutMs: random.pick([1_000, 60_000]),
  })
  for (let i = 0; !process.isEnding; i++) {
    const sends = Array.from({ length: 1 + random.below(3) }, async (_, k) => {
      const value = `${name}/${i}/${k}`
      const partition = random.below(topic.partitions)
      const dedupId = `id${Math.max(0, Math.floor(i / 2) - random.below(IDS_AT_ONCE))}`
      const outcome = await recorded(
        lab.history,
        { type: 'write', process: name, records: [{ topicId: topic.name, partition, value, dedupId }] },
        () => producer.send({ value: payloadOf(value, random.pick([0, 50])), partition, dedupId }),
        (result) => [placeOf(result)],
      )
      if ('error' in outcome) assertPossible(outcome.error)
    })
    await Promise.all(sends)
    await process.sleep(thinkMs(lab, random))
  }
}
