import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { mediaTypeIn } from '../../shard/stream-changes.js'
import { type Coding, prefersGzip } from '../content-coding.js'
import { GZIP_LEVEL, type GzipPlaces } from '../gzip-places.js'

/** Below it a packet is a packet. */
const COMPRESSED_BYTES_MIN = 1_024
/** What is compressed by itself. */
const DENSE_TYPE = /^(image\/(?!svg\+xml$)|audio\/|video\/|font\/)/

const compressed = promisify(gzip)

/** A body as it goes out, and in which coding. */
export interface CodedBody {
  readonly bytes: Buffer
  readonly coding: Coding
}

/**
 * A page as a client wants it: compressed for whoever prefers that, unless the page is short, gains nothing by it, or others are
 * being compressed at the moment.
 */
export async function codedBody(
  bytes: Buffer,
  {
    contentType,
    acceptEncoding,
    gzip,
  }: { contentType: string; acceptEncoding: string | string[] | undefined; gzip: GzipPlaces },
): Promise<CodedBody> {
  const isWorthIt =
    bytes.length >= COMPRESSED_BYTES_MIN &&
    !DENSE_TYPE.test(mediaTypeIn(contentType)) &&
    prefersGzip(acceptEncoding)
  if (!isWorthIt || !gzip.isFree) return { bytes, coding: 'identity' }
  const done = gzip.take()
  try {
    const smaller = await compressed(bytes, { level: GZIP_LEVEL })
    return smaller.length < bytes.length ? { bytes: smaller, coding: 'gzip' } : { bytes, coding: 'identity' }
  } finally {
    done()
  }
}
