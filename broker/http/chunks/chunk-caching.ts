import type { IncomingHttpHeaders } from 'node:http'
import type { ChunkRow } from '../../manifest/rows.js'
import type { TopicInfo } from '../../shard/shard-face.js'
import type { Coding } from '../content-coding.js'

/** What a chunk is sent as. */
export const CHUNK_FORMATS = ['native', 'ndjson', 'json'] as const
export type ChunkFormat = (typeof CHUNK_FORMATS)[number]

export const CHUNK_TYPES: Readonly<Record<ChunkFormat, string>> = {
  native: 'application/vnd.millrace.chunk',
  ndjson: 'application/x-ndjson',
  json: 'application/json',
}

/** Counts up when the same records are written as other text: an entity tag stands for bytes. */
const TEXT_VERSION = 1

/** The strong entity tag of one form of a chunk. */
export function entityTag({ section }: ChunkRow, format: ChunkFormat, coding: Coding): string {
  const form = format === 'native' ? '' : `-${format}${TEXT_VERSION}`
  return `"${section.digest}${form}${coding === 'gzip' ? '-gzip' : ''}"`
}

/** When its newest record was appended; never in the future, which no cache would believe. */
export const lastModified = ({ section }: ChunkRow, nowMs: number): string =>
  new Date(Math.min(section.maxAppendTime, nowMs)).toUTCString()

/** Bytes that never change may be kept for good; by whom, the topic says. */
export const cacheControl = ({ options }: TopicInfo, maxAgeMs: number): string =>
  `${options.publicCache === true ? 'public' : 'private'}, max-age=${Math.floor(maxAgeMs / 1000)}, immutable`

/** The tag of `tags` that the client has already (or the first, if it says so by date); undefined: it has none. */
export function tagAtClient(
  headers: IncomingHttpHeaders,
  { tags, modified }: { readonly tags: readonly string[]; readonly modified: string },
): string | undefined {
  const asked = headers['if-none-match']
  if (asked !== undefined) {
    if (asked.trim() === '*') return tags[0]
    const known = asked.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
    return tags.find((tag) => known.includes(tag))
  }
  const since = Date.parse(headers['if-modified-since'] ?? '')
  return since >= Date.parse(modified) ? tags[0] : undefined
}

/** Whether a range is wanted of just these bytes, and not all of others. */
export function isRangeOf(
  headers: IncomingHttpHeaders,
  { tag, modified }: { readonly tag: string; readonly modified: string },
): boolean {
  const condition = headers['if-range']
  return condition === undefined || condition === tag || condition === modified
}
