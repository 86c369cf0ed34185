import { HARD_LIMITS } from '../../../protocol/limits.js'
import { metadata, metadataListed, type TopicDescription } from '../../../protocol/messages/metadata.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { handler } from './handler.js'

export const metadataHandler = handler(metadata, (session, { correlationId, names, after, limit }) => {
  const { shard } = session
  if (names !== null) {
    const topics = [...new Set(names)]
      .map((name) => shard.topicNamed(name))
      .filter((topic) => topic !== undefined)
    session.reply(metadataListed, { correlationId, topics: topics.map(described), next: null })
    return undefined
  }
  const count = Math.max(1, limit ?? HARD_LIMITS.topicsPerMetadataMax)
  // One more than asked for tells whether there is a next page.
  const found = shard.topicsAfter(after, count + 1)
  const page = found.slice(0, count)
  const next = found.length > count ? (page.at(-1)?.name ?? null) : null
  session.reply(metadataListed, { correlationId, topics: page.map(described), next })
  return undefined
})

function described({
  name,
  topicId,
  keyEncoding,
  valueEncoding,
  partitions,
  createdAt,
  options,
  internal,
}: TopicInfo): TopicDescription {
  return { name, topicId, keyEncoding, valueEncoding, partitions, createdAt, options, internal }
}
