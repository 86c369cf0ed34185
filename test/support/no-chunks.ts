import type { Backend } from '../../broker/http/context.js'
import { MillraceError } from '../../protocol/error-codes.js'

const refuse = (): never => {
  throw new MillraceError('UNKNOWN_TOPIC')
}

/** For tests of what has nothing to do with chunks: nothing is sealed. */
export const noChunks: Backend['sealed'] = {
  list: refuse,
  startingAt: () => 'unsealed',
  find: refuse,
  open: async () => refuse(),
}
