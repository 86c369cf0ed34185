import type { DedupIds } from '../../../protocol/entry-section.js'
import { MillraceError } from '../../../protocol/error-codes.js'
import { produceChecked, producedChecked } from '../../../protocol/messages/checked-produce.js'
import { handler } from './handler.js'

/** The dedup ids of a batch as the shard takes them. */
export function dedupIdsOf(fields: {
  readonly idBitmap: Uint8Array | null
  readonly ids: Uint8Array | null
}): DedupIds | null {
  const { idBitmap, ids } = fields
  if (idBitmap === null && ids === null) return null
  if (idBitmap !== null && ids !== null) return { bitmap: idBitmap, hashes: ids }
  throw new MillraceError('BAD_BATCH', { message: 'dedup ids need idBitmap and ids, or neither' })
}

export const produceCheckedHandler = handler(
  produceChecked,
  (session, request, received) => {
    const { correlationId, idBitmap, ids, ...batch } = request
    const dedupIds = dedupIdsOf({ idBitmap, ids })
    const frameBytes = received.bytes.length
    const { inFlight, clock, metrics } = session
    const startMs = clock.monotonic()
    inFlight.begin(frameBytes)
    session.source.append({ ...batch, dedupIds }, (error, ack) => {
      if (ack)
        session.reply(producedChecked, { correlationId, ...ack, duplicates: [...(ack.duplicates ?? [])] })
      else session.fail(correlationId, error)
      metrics.observe('produceMs', clock.monotonic() - startMs)
      inFlight.end(frameBytes)
      received.release()
    })
    return undefined
  },
  { isRefusedInDrain: true, isReleasing: true },
)
