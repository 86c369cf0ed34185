import { type AtomicWrite, atomic, atomicDone } from '../../../protocol/messages/atomic.js'
import type { AppendBatch } from '../../shard/shard-face.js'
import { handler } from './handler.js'
import { dedupIdsOf } from './produce-checked.js'

/** Everything that can be wrong with it is for the shard to say: only the shard knows whether it was written before. */
export const atomicHandler = handler(
  atomic,
  (session, { correlationId, requestId, writes, acks, jobs }, received) => {
    const unit = { requestId, writes: writes.map(batchOf), acks: [...acks, ...jobs] }
    const frameBytes = received.bytes.length
    const { inFlight, clock, metrics } = session
    const startMs = clock.monotonic()
    inFlight.begin(frameBytes)
    session.source.appendUnit(unit, (error, result) => {
      if (result) {
        const written = result.writes.map((write) => ({
          ...write,
          duplicates: [...(write.duplicates ?? [])],
        }))
        session.reply(atomicDone, { ...result, correlationId, writes: written })
      } else session.fail(correlationId, error)
      metrics.observe('atomicMs', clock.monotonic() - startMs)
      inFlight.end(frameBytes)
      received.release()
    })
    return undefined
  },
  { isRefusedInDrain: true, isReleasing: true },
)

/** A batch without a producer: the request id tells its retry. */
function batchOf({ idBitmap, ids, ...batch }: AtomicWrite): AppendBatch {
  const dedupIds = dedupIdsOf({ idBitmap, ids })
  return { ...batch, producerId: null, producerEpoch: 0, baseSequence: 0, dedupIds }
}
