import { ChunkWriter, type ChunkWriterOptions } from '../../../broker/chunks/chunk-writer.js'
import type { OwnedSection } from '../../../broker/chunks/format.js'
import type { Disk } from '../../../broker/platform/disk.js'
import { clusterIdFrom, type TopicId } from '../../../protocol/ids.js'
import { type StoredEntry, someTopicId } from '../../support/entries.js'

export const chunkDirectory = '/chunks'
export const someClusterId = clusterIdFrom('c0c1c2c3c4c5c6c7c8c9cacbcccdcecf')

export interface SectionPlan {
  readonly topicId?: TopicId
  readonly partition?: number
  readonly entries: readonly StoredEntry[]
}

/** Writes one finished chunk file and returns its sections. */
export async function sealChunk(
  options: Partial<ChunkWriterOptions> & { disk: Disk; chunkId: number },
  plans: readonly SectionPlan[],
): Promise<OwnedSection[]> {
  const writer = await ChunkWriter.create({ directory: chunkDirectory, clusterId: someClusterId, ...options })
  const sections: OwnedSection[] = []
  for (const { topicId = someTopicId, partition = 0, entries } of plans) {
    writer.beginSection({ topicId, partition })
    for (const { bytes, header } of entries) await writer.append(bytes, header)
    sections.push({ topicId, partition, section: await writer.endSection() })
  }
  await writer.finish()
  return sections
}
