import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { nameOf } from './payload.js'
import { assertPossible } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

/** Looks through the dead letters of a group, gives it some once more, and deletes them now and then. */
export async function tendDeadLetters(
  lab: Lab,
  process: ClientProcess,
  { topic, group }: { topic: WorkTopic; group: string },
): Promise<void> {
  await ensureTopic(process, [topic])
  const { client, random } = process
  while (!process.isEnding) {
    await process.sleep(50 + 5 * thinkMs(lab, random))
    try {
      const letters = await list(process, { topic, group })
      if (letters === 0 && random.chance(0.8)) continue
      if (random.chance(0.1)) await client.deadLetters.purge(topic.topic, group)
      else await replay(process, { topic, group })
    } catch (error) {
      const { code } = error as { code?: string }
      // What was there is replayed or deleted while it is read.
      if (isPassing(error) || code === 'UNKNOWN_GROUP' || code === 'OFFSET_OUT_OF_RANGE') continue
      if (code === 'UNKNOWN_TOPIC' && process.isEnding) return
      assertPossible(error)
      throw error
    }
  }
}

async function list(
  { client }: ClientProcess,
  { topic, group }: { topic: WorkTopic; group: string },
): Promise<number> {
  let letters = 0
  let last = -1
  for await (const letter of client.deadLetters.list(topic.topic, group)) {
    const { offset, origin, count, raw } = letter
    const isRight =
      offset > last && letter.group === group && origin.topic.startsWith(topic.name) && count >= 1
    // One whose record could not be read says where it is, and no more.
    const isWhole = raw.value === null || !nameOf(raw.value).startsWith('damaged')
    if (!isRight || !isWhole) throw new Error(`a dead letter is wrong: ${JSON.stringify(letter)}`)
    last = offset
    letters++
  }
  return letters
}

async function replay(
  { client, random }: ClientProcess,
  { topic, group }: { topic: WorkTopic; group: string },
): Promise<void> {
  const max = 1 + random.below(4)
  // Others may come while they are replayed: what is left says nothing.
  const { replayed } = await client.deadLetters.replay(topic.topic, group, { max })
  if (replayed > max) throw new Error(`${replayed} dead letters were replayed, at most ${max} were asked for`)
}
