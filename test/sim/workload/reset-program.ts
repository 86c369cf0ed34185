import type { ResetGroupOptions } from '../../../client/index.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { assertPossible, recorded } from './recorded-writes.js'
import { isPassing, type WorkTopic } from './topics.js'

/** What a reset may be answered with: somebody is a member, there is no such group or cursor yet, the start is past the offset. */
const REFUSALS = new Set(['GROUP_ACTIVE', 'UNKNOWN_GROUP', 'ILLEGAL_ARGUMENT', 'OFFSET_OUT_OF_RANGE'])

/** Sets the place of a group in one partition, to any place. As long as the group has members that is refused. */
export async function resetGroup(
  lab: Lab,
  process: ClientProcess,
  {
    topic: { name, topic, partitions },
    group,
    isQueue,
  }: { topic: WorkTopic; group: string; isQueue: boolean },
): Promise<void> {
  const { client, random } = process
  const partition = random.below(partitions)
  try {
    const bounds = (await client.describeTopic(topic)).partitions[partition]
    if (bounds === undefined) return
    const { to, from, upTo } = placeIn(bounds, process)
    const options = { to, topic, partitions: [partition], create: !isQueue && random.chance(0.3) }
    if (random.chance(0.2)) await client.groups.reset(group, { ...options, dryRun: true })
    const outcome = await recorded(
      lab.history,
      { type: 'reset', group, topicId: name, partition, offset: from, upTo },
      () => client.groups.reset(group, options),
    )
    if ('error' in outcome) throw outcome.error
    for (const { to: reached } of outcome.answer) {
      if (reached < from || reached > upTo)
        throw new Error(`group "${group}" was reset to ${reached}, and ${from} to ${upTo} was asked for`)
    }
  } catch (error) {
    if (error instanceof Error && !('code' in error)) throw error
    const { code } = error as { code: string }
    if (isPassing(error) || REFUSALS.has(code)) return
    assertPossible(error)
    throw error
  }
}

/** Start and end only grow: what is asked for by name is nowhere below where it was. */
function placeIn(
  { startOffset, endOffset }: { startOffset: number; endOffset: number },
  { random }: ClientProcess,
): { to: ResetGroupOptions['to']; from: number; upTo: number } {
  const upTo = Number.MAX_SAFE_INTEGER
  switch (random.below(4)) {
    case 0:
      return { to: 'earliest', from: startOffset, upTo }
    case 1:
      return { to: 'latest', from: endOffset, upTo }
    case 2:
      return { to: new Date(Date.now() - random.below(2_000)), from: startOffset, upTo }
    default: {
      const offset = startOffset + random.below(endOffset - startOffset + 1)
      return { to: { offset }, from: offset, upTo: offset }
    }
  }
}
