import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { assertPossible } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

/** How much of a topic that expires is kept. */
export const EXPIRIES = [
  { maxBytes: 6_000 },
  { maxAgeMs: 1_500 },
  { maxBytes: 20_000, maxAgeMs: 5_000 },
  { maxBytes: 2_000, maxAgeMs: 300 },
] as const

/** Changes how long the records of topics are kept, which expire one way or another. */
export async function alter(lab: Lab, process: ClientProcess, topics: readonly WorkTopic[]): Promise<void> {
  await ensureTopic(process, topics)
  const { client, random } = process
  while (!process.isEnding) {
    await process.sleep(50 + 5 * thinkMs(lab, random))
    const retention = random.pick(EXPIRIES)
    try {
      const inForce = await client.alterTopic(random.pick(topics).topic, { retention })
      for (const [name, value] of Object.entries(retention)) {
        const now = inForce.retention[name as keyof typeof inForce.retention]
        if (now !== value) throw new Error(`${name} was set to ${value} and is ${now}`)
      }
    } catch (error) {
      if (isPassing(error)) continue
      assertPossible(error)
      throw error
    }
  }
}
