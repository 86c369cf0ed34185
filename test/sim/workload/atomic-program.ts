import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, placesOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, type WorkTopic } from './topics.js'

/** Writes records to several topics and partitions, all of them or none. */
export async function writeTogether(
  lab: Lab,
  process: ClientProcess,
  topics: readonly WorkTopic[],
): Promise<void> {
  await ensureTopic(process, topics)
  const { client, random, name } = process
  for (let i = 0; !process.isEnding; i++) {
    const records = Array.from({ length: 1 + random.below(5) }, (_, k) => {
      const topic = random.pick(topics)
      const partition = random.below(topic.partitions)
      return { topic, partition, value: `${name}/${i}/${k}`, fillerBytes: random.pick([0, 100, 2_000]) }
    })
    const outcome = await recorded(
      lab.history,
      {
        type: 'write',
        process: name,
        atomic: true,
        records: records.map(({ topic, partition, value }) => ({ topicId: topic.name, partition, value })),
      },
      () =>
        client.atomic(
          {
            writes: records.map(({ topic: { topic }, partition, value, fillerBytes }) =>
              topic.record({ partition, value: payloadOf(value, fillerBytes) }),
            ),
          },
          { deliveryTimeoutMs: random.pick([1_000, 60_000]) },
        ),
      placesOf,
    )
    if ('error' in outcome) assertPossible(outcome.error)
    await process.sleep(thinkMs(lab, random))
  }
}
