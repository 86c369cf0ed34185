import { MillraceError } from '../../../protocol/error-codes.js'
import { isJson } from '../../shard/stream-changes.js'
import type { StreamInfo } from '../../shard/streams-face.js'
import type { HttpContext } from '../context.js'

const PAGE_BYTES = 1024 * 1024

/**
 * Where a fork ends that takes `subOffset` more from an offset on: so many values of a JSON stream, else so many bytes. Rejects
 * with ILLEGAL_ARGUMENT when there are not so many.
 */
export async function forkEnd(
  { backend, streamReader }: HttpContext,
  source: StreamInfo,
  { offset, subOffset }: { offset: number; subOffset: number },
): Promise<{ endOffset: number; endBytes: number }> {
  const tooFew = new MillraceError('ILLEGAL_ARGUMENT', {
    message: 'Stream-Fork-Sub-Offset: the stream to fork has less behind that offset',
  })
  if (isJson(source.contentType)) {
    if (offset + subOffset > source.endOffset) throw tooFew
    return { endOffset: offset + subOffset, endBytes: 0 }
  }
  let left = subOffset
  let at = offset
  while (at < source.endOffset) {
    const page = await streamReader.read(backend, source, { offset: at, maxBytes: PAGE_BYTES })
    for (const [index, value] of page.values.entries()) {
      if (left <= value.length) {
        // Without what it shares with those before it, a record has its place: offsets of bytes are dense.
        const endOffset = at + index + 1
        return { endOffset, endBytes: left === value.length ? 0 : left }
      }
      left -= value.length
    }
    if (page.nextOffset === at) break
    at = page.nextOffset
  }
  throw tooFew
}
