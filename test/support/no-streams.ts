import type { StreamsFace } from '../../broker/shard/streams-face.js'
import { MillraceError } from '../../protocol/error-codes.js'

const refused = (): Promise<never> => Promise.reject(new MillraceError('UNKNOWN_TOPIC'))

/** A broker's streams, of which there are none. */
export const noStreams: StreamsFace = {
  named: () => undefined,
  segments: () => [],
  accessed() {},
  create: refused,
  delete: refused,
}
