import type { TopicId } from '../../protocol/ids.js'
import type { PartitionKeyText } from '../shard/state.js'

/** One partition of one topic as a key: the topic's id, a slash, the partition's number. */
export type Part = PartitionKeyText

export const partOf = (topicId: TopicId, partition: number): Part => `${topicId}/${partition}`

/** What a key was made of. */
export function placeOf(part: Part): { readonly topicId: TopicId; readonly partition: number } {
  const slash = part.indexOf('/')
  return { topicId: part.slice(0, slash) as TopicId, partition: Number(part.slice(slash + 1)) }
}
