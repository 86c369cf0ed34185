import { retryTopicName } from '../../protocol/dead-letters.js'
import type { TopicId } from '../../protocol/ids.js'
import type { GroupsView } from '../shard/group-requests.js'
import type { GroupTopics } from './consumer-events.js'

/** Those of the topics that exist, with the retry topics of the group of this name that belong to them. */
export function existingTopics(
  state: Pick<GroupsView, 'topics' | 'topicsByName'>,
  of: { readonly group: string; readonly topicIds: Iterable<TopicId> },
): GroupTopics {
  const partitions = new Map<TopicId, number>()
  const origins = new Map<TopicId, TopicId>()
  for (const topicId of of.topicIds) {
    const topic = state.topics.get(topicId)
    if (topic === undefined) continue
    partitions.set(topicId, topic.partitions.length)
    const retries = state.topicsByName.get(retryTopicName(topic.row.name, of.group))
    if (retries === undefined) continue
    partitions.set(retries.row.topicId, retries.partitions.length)
    origins.set(retries.row.topicId, topicId)
  }
  return { partitions, origins }
}
