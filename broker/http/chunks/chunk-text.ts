import { COMPRESSION, COMPRESSION_MASK } from '../../../protocol/entry.js'
import type { WireRecord } from '../../../protocol/record.js'
import { decodeRecords } from '../../../protocol/records.js'
import type { LentSection } from '../../chunks/lent-section.js'
import { type EntrySlicer, type EntryView, entriesIn } from '../../groups/entry-slice.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import { readableWriter } from '../record-text.js'

/** Stored bytes that are read for one piece of text. */
const READ_BYTES = 256 * 1024

export interface ChunkTextOptions {
  readonly topic: TopicInfo
  readonly partition: number
  readonly format: 'ndjson' | 'json'
  /** What inflates, for all responses together: few at once. */
  readonly slicer: EntrySlicer
}

/**
 * All records of a chunk as JSON: one a line, or a list. A record that is not what its topic says stands there as it is stored, with
 * an `error`: unlike a page, a chunk cannot end before it.
 */
export async function* chunkText(
  section: LentSection,
  { topic, partition, format, slicer }: ChunkTextOptions,
): AsyncGenerator<Buffer, void, void> {
  const isList = format === 'json'
  let isFirst = true
  for await (const { buffers } of section.entries({ maxBytes: READ_BYTES })) {
    for (const entry of entriesIn(buffers)) {
      const { baseOffset, baseTimestamp, appendTime } = entry.header
      const write = readableWriter({
        ...topic,
        topic: topic.name,
        partition,
        baseOffset,
        baseTimestamp,
        appendTime,
      })
      const lines = (await recordsIn(entry, slicer)).map(write)
      if (lines.length === 0) continue
      if (isList) yield Buffer.from(`${isFirst ? '[' : ','}\n${lines.join(',\n')}`)
      else yield Buffer.from(`${lines.join('\n')}\n`)
      isFirst = false
    }
  }
  if (isList) yield Buffer.from(isFirst ? '[]\n' : '\n]\n')
}

async function recordsIn(entry: EntryView, slicer: EntrySlicer): Promise<WireRecord[]> {
  const { header, payload, omitted, from, to } = entry
  if ((header.attributes & COMPRESSION_MASK) === COMPRESSION.none)
    return decodeRecords(payload, header.recordCount, omitted)
  const { parts, recordCount } = await slicer.slice(entry, [{ from, to }])
  return decodeRecords(Buffer.concat(parts), recordCount)
}
