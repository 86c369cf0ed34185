import type { TopicId } from '../../protocol/ids.js'
import { readPages } from '../manifest/page-file.js'
import type { DedupBucketKey, ManifestContents } from '../manifest/rows.js'
import type { Disk } from '../platform/disk.js'

/** Dedup ids that cannot be read: records with them may be written again. */
export interface LostDedupIds {
  readonly topicId: TopicId
  readonly ids: number
}

/** Contents with the hashes of their dedup pages, without the buckets of which a page is damaged. */
export async function wholeIdsOf(
  contents: ManifestContents,
  options: { disk: Disk; path: string },
): Promise<{ contents: ManifestContents; lost: readonly LostDedupIds[] }> {
  const { rows, faults } = await readPages({ ...options, rows: contents.dedupPages })
  const bad = new Set(faults.map(({ row }) => nameOf(row)))
  const isWhole = (row: DedupBucketKey): boolean => !bad.has(nameOf(row))
  const lost = contents.dedupBuckets
    .filter((bucket) => !isWhole(bucket))
    .map(({ topicId, count }) => ({ topicId, ids: count }))
  const dedupBuckets = contents.dedupBuckets.filter(isWhole)
  return { contents: { ...contents, dedupBuckets, dedupPages: rows.filter(isWhole) }, lost }
}

const nameOf = ({ topicId, start }: DedupBucketKey): string => `${topicId}/${start}`
