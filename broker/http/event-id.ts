import { MillraceError } from '../../protocol/error-codes.js'
import type { TopicId } from '../../protocol/ids.js'
import type { TopicInfo } from '../shard/shard-face.js'
import { badRequest, printable } from './shape.js'

const ID = /^(?:([0-9a-f]{32}):)?((?:0|[1-9]\d{0,15})(?:-(?:0|[1-9]\d{0,15}))*)$/

/** Where to go on after an event: the next offset of each partition that is followed, and of which log. */
export const eventId = (topicId: TopicId, positions: Iterable<number>): string =>
  `${topicId}:${[...positions].join('-')}`

/**
 * The offsets in a `Last-Event-ID`, so many as partitions are followed; none are in an empty one. A topic that was made anew under the
 * name of another holds other records at these offsets, and is refused; whoever makes an id by hand may leave the topic's out. Throws
 * BAD_REQUEST, OFFSET_OUT_OF_RANGE.
 */
export function positionsIn(
  lastEventId: string | string[] | undefined,
  { topicId, name }: Pick<TopicInfo, 'topicId' | 'name'>,
  partitions: number,
): string[] {
  const id = String(lastEventId ?? '')
  if (id === '') return []
  const [, followed = topicId, offsets] = ID.exec(id) ?? []
  const positions = offsets?.split('-') ?? []
  if (followed !== topicId && positions.length > 0)
    throw new MillraceError('OFFSET_OUT_OF_RANGE', {
      message: `Last-Event-ID: the topic that was followed is gone; "${name}" was made anew since`,
    })
  if (positions.length === partitions) return positions
  throw badRequest(`Last-Event-ID: "${printable(id)}" is none of this stream`)
}
