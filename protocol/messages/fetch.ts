import type { TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { bytes, id, list, tuple, uint, uint32 } from '../shape.js'
import { type MessageFields, message } from './message.js'

export const fetch = message('FETCH', 20, {
  correlationId: uint32(),
  topicId: id<TopicId>(),
  partition: uint32(),
  offset: uint(),
  /** Wait until so many bytes are there or `maxWaitMs` is over. */
  minBytes: uint32(),
  /** At least one entry is sent, however large. */
  maxBytes: uint32(),
  maxWaitMs: uint(HARD_LIMITS.maxWaitMsMax),
})
export type Fetch = MessageFields<typeof fetch>

export const fetched = message('FETCHED', 21, {
  correlationId: uint32(),
  startOffset: uint(),
  durableEnd: uint(),
  /** Stored entries end to end; the first may begin below the asked offset. */
  entries: bytes(0x7fffffff),
})
export type Fetched = MessageFields<typeof fetched>

export const OFFSET_AT = { earliest: 0, latest: 1, time: 2 } as const

export const listOffsets = message('LIST_OFFSETS', 28, {
  correlationId: uint32(),
  topicId: id<TopicId>(),
  queries: list(
    tuple({
      partition: uint32(),
      /** OFFSET_AT: 0 earliest, 1 latest (the durable end), 2 the first record appended at or after `time`. */
      at: uint(2),
      /** Broker time, milliseconds; 0 unless `at` is 2. */
      time: uint(),
    }),
    HARD_LIMITS.offsetQueriesMax,
  ),
})
export type ListOffsets = MessageFields<typeof listOffsets>

/** In the order of the queries. A time after the last record answers the durable end. */
export const offsetsListed = message('OFFSETS_LISTED', 29, {
  correlationId: uint32(),
  offsets: list(
    tuple({ partition: uint32(), offset: uint(), startOffset: uint(), durableEnd: uint() }),
    HARD_LIMITS.offsetQueriesMax,
  ),
})
export type OffsetsListed = MessageFields<typeof offsetsListed>
