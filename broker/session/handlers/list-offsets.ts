import { type ListOffsets, listOffsets, OFFSET_AT, offsetsListed } from '../../../protocol/messages/fetch.js'
import type { SessionContext } from '../context.js'
import { handler } from './handler.js'

export const listOffsetsHandler = handler(listOffsets, (session, request) =>
  session.inTurn(async () => {
    const offsets: { partition: number; offset: number; startOffset: number; durableEnd: number }[] = []
    for (const query of request.queries) {
      const { partition } = query
      const offset = await offsetOf(session, request, query)
      offsets.push({ partition, offset, ...boundsOf(session, request, partition) })
    }
    session.reply(offsetsListed, { correlationId: request.correlationId, offsets })
  }),
)

function offsetOf(
  session: SessionContext,
  { topicId }: ListOffsets,
  { partition, at, time }: ListOffsets['queries'][number],
): number | Promise<number> {
  if (at === OFFSET_AT.time) return session.shard.offsetAtTime({ topicId, partition, time })
  const { startOffset, durableEnd } = session.shard.bounds(topicId, partition)
  return at === OFFSET_AT.earliest ? startOffset : durableEnd
}

/** After the search by time, so that the offset found lies within them. */
function boundsOf(session: SessionContext, { topicId }: ListOffsets, partition: number) {
  const { startOffset, durableEnd } = session.shard.bounds(topicId, partition)
  return { startOffset, durableEnd }
}
