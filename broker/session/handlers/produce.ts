import { produce } from '../../../protocol/messages/produce.js'
import { handler } from './handler.js'

/** The batch itself, with the fields that PRODUCE_CHECKED has set: no copy is made of it. */
function unconditional<Batch extends object>(batch: Batch): Batch & typeof NO_CONDITIONS {
  return Object.assign(batch, NO_CONDITIONS)
}

const NO_CONDITIONS: { readonly expectedOffset: null; readonly dedupIds: null } = {
  expectedOffset: null,
  dedupIds: null,
}

/** Everything that can be wrong with a batch is for the shard to say. */
export const produceHandler = handler(
  produce,
  (session, batch, received) => {
    const frameBytes = received.bytes.length
    const { inFlight, acks, clock, metrics } = session
    const startMs = clock.monotonic()
    inFlight.begin(frameBytes)
    session.source.append(unconditional(batch), (error, ack) => {
      if (ack) acks.add(batch.correlationId, ack)
      else session.fail(batch.correlationId, error)
      metrics.observe('produceMs', clock.monotonic() - startMs)
      inFlight.end(frameBytes)
      // The batch lies in the WAL's memory now, or nowhere.
      received.release()
    })
    return undefined
  },
  { isRefusedInDrain: true, isReleasing: true },
)
