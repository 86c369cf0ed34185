import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { payloadOf } from './payload.js'
import { assertPossible, placeOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, persistently, type WorkTopic } from './topics.js'

/** Appends where it believes the end to be, as event sourcing does, while others do the same. */
export async function keepLedger(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const { client, random, name } = process
  const producer = client.producer(topic.topic, { deliveryTimeoutMs: random.pick([500, 60_000]) })
  let next = 0
  for (let i = 0; !process.isEnding; i++) {
    const value = `${name}/${i}`
    const expectedOffset = next
    const outcome = await recorded(
      lab.history,
      {
        type: 'write',
        process: name,
        records: [{ topicId: topic.name, partition: 0, value, expectedOffset }],
      },
      () => producer.send({ value: payloadOf(value, 20), partition: 0 }, { expectedOffset }),
      (result) => [placeOf(result)],
    )
    if ('answer' in outcome) next = outcome.answer.offset + 1
    else {
      assertPossible(outcome.error)
      const { code, details } = outcome.error as { code: string; details?: { actualOffset?: number } }
      if (code !== 'EXPECTED_OFFSET_CONFLICT' && !isPassing(outcome.error)) throw outcome.error
      next = details?.actualOffset ?? (await endOf(process, topic))
    }
    await process.sleep(thinkMs(lab, random))
  }
}

async function endOf(process: ClientProcess, { topic }: WorkTopic): Promise<number> {
  const details = await persistently(process, () => process.client.describeTopic(topic))
  return details?.partitions[0]?.endOffset ?? 0
}
