import type { ChunkReport } from '../chunks/verify-chunk.js'
import type { ChunkRow, SectionRow } from '../manifest/rows.js'
import type { ShardState } from '../shard/state.js'

export function chunkRowsOf(state: ShardState): ChunkRow[] {
  const rows: ChunkRow[] = []
  for (const topic of state.topics.values())
    for (const partition of topic.partitions) rows.push(...partition.chunks)
  return rows
}

export function rowsByFile(rows: readonly ChunkRow[]): Map<number, ChunkRow[]> {
  const byFile = new Map<number, ChunkRow[]>()
  for (const row of rows) {
    const others = byFile.get(row.chunkId)
    if (others === undefined) byFile.set(row.chunkId, [row])
    else others.push(row)
  }
  return byFile
}

/** Why a row does not describe a section of the file; undefined when it does. */
export function rowFault(row: ChunkRow, report: ChunkReport): string | undefined {
  const name = `${row.topicId}/${row.partition}`
  const found = report.sections.find(
    ({ topicId, partition, section }) =>
      topicId === row.topicId && partition === row.partition && section.byteStart === row.section.byteStart,
  )
  if (found === undefined) return `the manifest has a section of ${name} here, the file has none`
  const fields = Object.keys(found.section) as (keyof SectionRow)[]
  const wrong = fields.find((field) => found.section[field] !== row.section[field])
  return (
    wrong &&
    `the manifest says ${wrong} ${row.section[wrong]} of a section of ${name}, the file ${found.section[wrong]}`
  )
}
