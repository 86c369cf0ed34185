import type { EntryHeader } from '../../protocol/entry.js'
import { readSection } from '../../protocol/entry-section.js'
import type { PartitionState, ShardState } from './state.js'

/** The dedup ids in an entry's section are known from now on. */
export function applyDedup(
  state: ShardState,
  { topicId, partition }: PartitionState,
  entry: Pick<EntryHeader, 'baseOffset' | 'recordCount' | 'appendTime'>,
  section: Uint8Array,
): void {
  const { ids, omitted } = readSection(section, entry.recordCount)
  const topic = state.topics.get(topicId)
  if (ids === undefined || topic === undefined) return
  const { baseOffset, appendTime: time } = entry
  const windowMs = topic.row.options.dedupWindowMs
  state.dedup.insert({ topicId, windowMs, time, partition, baseOffset, ids, omitted })
}
