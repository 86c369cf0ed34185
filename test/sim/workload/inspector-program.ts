import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { assertPossible, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

/** Asks where topics and groups are, and deletes the oldest records of topics that may lose them. */
export async function inspect(
  lab: Lab,
  process: ClientProcess,
  {
    topics,
    groups,
    deletable,
  }: { topics: readonly WorkTopic[]; groups: readonly string[]; deletable: WorkTopic | undefined },
): Promise<void> {
  const known = topics.filter(({ isBrokers }) => !isBrokers)
  await ensureTopic(process, known)
  const { random } = process
  while (!process.isEnding) {
    await process.sleep(20 + 3 * thinkMs(lab, random))
    try {
      const bounds = await askBounds(lab, process, random.pick(known.filter(({ gone }) => gone === 'no')))
      if (groups.length > 0) await askCursors(lab, process, random.pick(groups))
      const end = bounds[0]?.endOffset ?? 0
      if (deletable !== undefined && random.chance(0.2) && end > 0) {
        await deleteBefore(lab, process, deletable)
      }
    } catch (error) {
      // A topic may go at any moment.
      if (!isPassing(error) && (error as { code?: string }).code !== 'UNKNOWN_TOPIC') throw error
    }
  }
}

/** Deletes the oldest records of a topic, again and again. */
export async function shred(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  while (!process.isEnding) {
    await process.sleep(30 + 6 * thinkMs(lab, process.random))
    try {
      await deleteBefore(lab, process, topic)
    } catch (error) {
      if (!isPassing(error)) throw error
    }
  }
}

async function askBounds({ history }: Lab, { client }: ClientProcess, { name, topic }: WorkTopic) {
  const since = history.next
  const { partitions } = await client.describeTopic(topic)
  for (const { partition, startOffset, endOffset } of partitions) {
    history.record({ type: 'bounds', topicId: name, partition, startOffset, endOffset, since })
  }
  return partitions
}

/** Where a group is, as far as it is anywhere; what is left to it. */
export async function askCursors(
  { history }: Lab,
  { client }: ClientProcess,
  group: string,
): Promise<number> {
  const since = history.next
  let left = 0
  try {
    const { partitions } = await client.groups.describe(group)
    for (const { topic, partition, position, startOffset, hasCursor, lag } of partitions) {
      left += lag.records
      if (!hasCursor) continue
      // Below the start it has nothing any more: it goes on there.
      const offset = Math.max(position, startOffset)
      history.record({ type: 'cursor', group, topicId: topic, partition, offset, since })
    }
  } catch (error) {
    if ((error as { code?: string }).code !== 'UNKNOWN_GROUP') throw error
  }
  return left
}

async function deleteBefore(
  lab: Lab,
  process: ClientProcess,
  { name, topic, partitions }: WorkTopic,
): Promise<void> {
  const { random, client } = process
  const partition = random.below(partitions)
  const { startOffset, endOffset } = (await client.describeTopic(topic)).partitions[partition] ?? {
    startOffset: 0,
    endOffset: 0,
  }
  const offset = startOffset + random.below(endOffset - startOffset + 1)
  const outcome = await recorded(
    lab.history,
    { type: 'deleteBefore', topicId: name, partition, offset },
    () => client.deleteBefore(topic, partition, offset),
  )
  if ('error' in outcome) assertPossible(outcome.error)
}
