import type { FastifyReply } from 'fastify'
import { isJson, mediaTypeIn } from '../../shard/stream-changes.js'
import type { StreamInfo, StreamsFace } from '../../shard/streams-face.js'
import type { Coding } from '../content-coding.js'
import { offsetToken } from './stream-offset.js'
import type { StreamPage } from './stream-reader.js'

/** Answers about streams are headers: those of the Durable Streams protocol. */
export function describe(
  reply: FastifyReply,
  backing: { readonly streams: Pick<StreamsFace, 'segments'> },
  stream: StreamInfo,
): FastifyReply {
  const { contentType, ttlSeconds, expiresAt, isClosed, endOffset } = stream
  reply
    .header('content-type', contentType)
    .header('stream-next-offset', offsetToken(backing, stream, endOffset))
  if (isClosed) reply.header('stream-closed', 'true')
  if (ttlSeconds !== null) reply.header('stream-ttl', ttlSeconds)
  if (expiresAt !== null) reply.header('stream-expires-at', expiresAt)
  return reply
}

/** What a page is as a body. */
export function bodyOf({ contentType }: StreamInfo, { values }: Pick<StreamPage, 'values'>): Buffer {
  if (isJson(contentType)) return Buffer.from(`[${values.join(',')}]`)
  return values.length === 1 ? (values[0] as Buffer) : Buffer.concat(values as Buffer[])
}

/** Whether server-sent events carry the bytes as text; all others as base64. */
export const isText = (contentType: string): boolean =>
  mediaTypeIn(contentType).startsWith('text/') || isJson(contentType)

/** What an entity tag of a stream stands for. */
export interface Tagged {
  readonly from: number
  readonly to: number
  /** Nothing comes behind `to`. */
  readonly isClosed: boolean
  /** `identity` unless told otherwise. */
  readonly coding?: Coding
}

/** Names the bytes: those of one stream, which never change, between two offsets; whether more may come; and how they are written. */
export function etagOf({ topicId }: StreamInfo, { from, to, isClosed, coding }: Tagged): string {
  const end = `${isClosed ? ':c' : ''}${coding === 'gzip' ? ':gzip' : ''}`
  return `"${topicId}:${from}:${to}${end}"`
}

/** The tag of If-None-Match that names these bytes, in either coding; undefined: none does. */
export function tagAtClient(
  ifNoneMatch: string | undefined,
  stream: StreamInfo,
  tagged: Omit<Tagged, 'coding'>,
): string | undefined {
  const asked = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? []
  const tags = CODINGS.map((coding) => etagOf(stream, { ...tagged, coding }))
  return asked.includes('*') ? tags[0] : tags.find((tag) => asked.includes(tag))
}

const CODINGS = ['identity', 'gzip'] as const

const MAX_AGE_S = 60
const STALE_S = 300

/**
 * What caches may do with a page. One that reaches the end is asked for anew each time, and so is one whose URL does not name the
 * stream (`isNamed`): another may be at its path by then. All others never change.
 */
export function cacheControl(
  { ttlSeconds, expiresAt }: StreamInfo,
  { isUpToDate, isNamed }: { isUpToDate: boolean; isNamed: boolean },
): string {
  if (isUpToDate || !isNamed) return 'private, no-cache'
  if (ttlSeconds !== null || expiresAt !== null)
    return `private, max-age=${Math.min(MAX_AGE_S, ttlSeconds ?? 0)}`
  return `private, max-age=${MAX_AGE_S}, stale-while-revalidate=${STALE_S}`
}
