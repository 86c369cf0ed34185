import type { FastifyReply } from 'fastify'
import { isJson, mediaTypeIn } from '../../shard/stream-changes.js'
import type { StreamInfo } from '../../shard/streams-face.js'
import { offsetToken } from './stream-offset.js'
import type { StreamPage } from './stream-reader.js'

/** Answers about streams are headers: those of the Durable Streams protocol. */
export function describe(
  reply: FastifyReply,
  { contentType, ttlSeconds, expiresAt, isClosed }: StreamInfo,
  nextOffset: number,
): FastifyReply {
  reply.header('content-type', contentType).header('stream-next-offset', offsetToken(nextOffset))
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

/** Names the bytes: those of one stream, which never change, between two offsets; and whether more may come. */
export function etagOf(
  { topicId }: StreamInfo,
  { from, to, isClosed }: { from: number; to: number; isClosed: boolean },
): string {
  return `"${topicId}:${offsetToken(from)}:${offsetToken(to)}${isClosed ? ':c' : ''}"`
}

/** Whether one of the tags of If-None-Match is this one. */
export function isMatch(ifNoneMatch: string | undefined, etag: string): boolean {
  const tags = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, '')) ?? []
  return tags.includes('*') || tags.includes(etag)
}

const MAX_AGE_S = 60
const STALE_S = 300

/** What caches may do with a page: one that reaches the end is asked for anew each time, the bytes before it never change. */
export function cacheControl(
  { ttlSeconds, expiresAt }: StreamInfo,
  { isUpToDate }: { isUpToDate: boolean },
): string {
  if (isUpToDate) return 'private, no-cache'
  if (ttlSeconds !== null || expiresAt !== null)
    return `private, max-age=${Math.min(MAX_AGE_S, ttlSeconds ?? 0)}`
  return `private, max-age=${MAX_AGE_S}, stale-while-revalidate=${STALE_S}`
}
