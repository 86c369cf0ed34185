/** What requests to streams say in headers. Names and forms are those of the Durable Streams protocol. */
import type { IncomingHttpHeaders } from 'node:http'
import type { MillraceError } from '../../../protocol/error-codes.js'
import { STREAM_LIMITS } from '../../../protocol/limits.js'
import type { ProducerTuple } from '../../manifest/rows.js'
import { badRequest, printable } from '../shape.js'
import { STREAM_PATH, streamName } from './stream-name.js'
import { readOffset, type StreamOffset } from './stream-offset.js'

type Headers = IncomingHttpHeaders

/** A header that is there once; undefined when it is not there. Throws BAD_REQUEST. */
function headerIn(headers: Headers, name: string, charsMax: number): string | undefined {
  const value = headers[name]
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw badRequest(`${name}: once is enough`)
  if (value.length > charsMax) throw badRequest(`${name}: at most ${charsMax} characters`)
  return value
}

const NUMBER = /^(0|[1-9]\d{0,15})$/
const DIGITS = /^\d{1,16}$/

function numberIn(text: string, what: string, pattern: RegExp): number {
  const number = Number(text)
  if (!pattern.test(text) || !Number.isSafeInteger(number))
    throw badRequest(`${what}: "${printable(text)}" is no whole number from 0 to 2^53 - 1`)
  return number
}

/** Whether the request closes the stream. */
export const closesIn = (headers: Headers): boolean =>
  headers['stream-closed'] !== undefined && String(headers['stream-closed']).toLowerCase() === 'true'

/** Throws BAD_REQUEST. */
export function producerIn(headers: Headers): ProducerTuple | null {
  const producerId = headerIn(headers, 'producer-id', STREAM_LIMITS.producerIdCharsMax)
  const epoch = headerIn(headers, 'producer-epoch', 16)
  const seq = headerIn(headers, 'producer-seq', 16)
  if (producerId === undefined && epoch === undefined && seq === undefined) return null
  if (producerId === undefined || epoch === undefined || seq === undefined)
    throw badRequest('Producer-Id, Producer-Epoch and Producer-Seq belong together')
  if (producerId === '') throw badRequest('Producer-Id: it is empty')
  return {
    producerId,
    epoch: numberIn(epoch, 'Producer-Epoch', DIGITS),
    seq: numberIn(seq, 'Producer-Seq', DIGITS),
  }
}

/** Throws BAD_REQUEST. */
export const seqIn = (headers: Headers): string | null =>
  headerIn(headers, 'stream-seq', STREAM_LIMITS.seqCharsMax) ?? null

/** How long the stream lives. Throws BAD_REQUEST. */
export function lifeIn(headers: Headers): { ttlSeconds: number | null; expiresAt: string | null } {
  const ttl = headerIn(headers, 'stream-ttl', 16)
  const expiresAt = headerIn(headers, 'stream-expires-at', STREAM_LIMITS.expiresAtCharsMax)
  if (ttl !== undefined && expiresAt !== undefined)
    throw badRequest('Stream-TTL and Stream-Expires-At: one of them, not both')
  if (expiresAt !== undefined && !TIME.test(expiresAt)) throw noTime(expiresAt)
  if (expiresAt !== undefined && Number.isNaN(Date.parse(expiresAt))) throw noTime(expiresAt)
  return {
    ttlSeconds: ttl === undefined ? null : numberIn(ttl, 'Stream-TTL', NUMBER),
    expiresAt: expiresAt ?? null,
  }
}

/** RFC 3339. */
const TIME = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

const noTime = (text: string): MillraceError =>
  badRequest(`Stream-Expires-At: "${printable(text)}" is no time such as 2026-01-31T12:00:00Z`)

/** A fork as it is asked for. */
export interface AskedFork {
  readonly sourceName: string
  /** Null: where the source ends. */
  readonly offset: StreamOffset | null
  readonly subOffset: number
}

/** What is asked for in place of an empty stream. Throws BAD_REQUEST, ILLEGAL_TOPIC_NAME. */
export function forkIn(headers: Headers): AskedFork | null {
  const source = headerIn(headers, 'stream-forked-from', 4_096)
  const offset = headerIn(headers, 'stream-fork-offset', 64)
  const subOffset = headerIn(headers, 'stream-fork-sub-offset', 64)
  if (source === undefined) {
    if (offset === undefined && subOffset === undefined) return null
    throw badRequest('Stream-Fork-Offset and Stream-Fork-Sub-Offset need a Stream-Forked-From')
  }
  return {
    sourceName: sourceNameIn(source),
    offset: offset === undefined ? null : readOffset(offset, 'Stream-Fork-Offset'),
    subOffset: subOffset === undefined ? 0 : numberIn(subOffset, 'Stream-Fork-Sub-Offset', NUMBER),
  }
}

/** The source is named as it is asked for: by its path, or its URL. */
function sourceNameIn(source: string): string {
  const path = source.replace(/^https?:\/\/[^/]*/i, '')
  if (!path.startsWith(STREAM_PATH))
    throw badRequest(`Stream-Forked-From: a path that begins with ${STREAM_PATH}`)
  try {
    return streamName.readText(decodeURIComponent(path.slice(STREAM_PATH.length)), 'Stream-Forked-From')
  } catch (error) {
    if (error instanceof URIError) throw badRequest('Stream-Forked-From: not percent-encoded UTF-8')
    throw error
  }
}

const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+\s*(;.*)?$/

/** The content type of a request; null when there is none, or what is no media type. */
export function contentTypeIn(headers: Headers): string | null {
  const given = headers['content-type']?.trim()
  if (given === undefined || !MEDIA_TYPE.test(given)) return null
  if (given.length <= STREAM_LIMITS.contentTypeCharsMax) return given
  throw badRequest(`content-type: at most ${STREAM_LIMITS.contentTypeCharsMax} characters`)
}
