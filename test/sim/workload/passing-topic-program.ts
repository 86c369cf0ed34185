import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, placeOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, newTopic, persistently, type WorkTopic } from './topics.js'

/** Makes topics, writes to them, and deletes them. `made` hears of each. */
export async function makeAndDelete(
  lab: Lab,
  process: ClientProcess,
  made: (topic: WorkTopic) => void,
): Promise<void> {
  const { client, random, name } = process
  for (let round = 0; !process.isEnding; round++) {
    const topic = newTopic(lab, { name: `${name}-${round}`, partitions: 1 + random.below(3) })
    await ensureTopic(process, [topic])
    made(topic)
    const producer = client.producer(topic.topic, { deliveryTimeoutMs: 20_000 })
    for (let i = 0; i < random.below(10); i++) {
      const value = `${topic.name}/${i}`
      const partition = random.below(topic.partitions)
      const outcome = await recorded(
        lab.history,
        {
          type: 'write',
          process: name,
          stream: topic.name,
          records: [{ topicId: topic.name, partition, value }],
        },
        () => producer.send({ value: payloadOf(value, 100), partition }),
        (result) => [placeOf(result)],
      )
      if ('error' in outcome) assertPossible(outcome.error)
      await process.sleep(thinkMs(lab, random))
    }
    await producer.close()
    if (random.chance(0.3)) continue
    topic.gone = 'maybe'
    lab.history.record({ type: 'topicGone', topicId: topic.name })
    await persistently(process, async () => {
      try {
        await client.deleteTopic(topic.topic)
      } catch (error) {
        // An attempt whose answer was lost may have done it.
        if ((error as { code?: string }).code !== 'UNKNOWN_TOPIC') throw error
      }
    })
    topic.gone = 'surely'
  }
}
