import { MillraceError } from '../../../protocol/error-codes.js'
import type { StreamInfo } from '../../shard/streams-face.js'
import type { Backend } from '../context.js'

/** A stream that is there for everybody. Throws UNKNOWN_TOPIC, STREAM_DELETED. */
export function liveStream({ streams }: Pick<Backend, 'streams'>, name: string): StreamInfo {
  const stream = streams.named(name)
  if (stream === undefined) throw new MillraceError('UNKNOWN_TOPIC', { message: 'there is no such stream' })
  if (stream.isDeleted) throw new MillraceError('STREAM_DELETED')
  return stream
}
