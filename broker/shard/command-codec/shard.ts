import type { ClusterId, RequestId } from '../../../protocol/ids.js'
import { id, type Shape, tuple, uint } from '../../../protocol/shape.js'
import { codec } from './codec.js'

export interface ShardEpochStarted {
  readonly type: 'shardEpochStarted'
  readonly clusterId: ClusterId
  readonly shardEpoch: number
}

/** The answer of an atomic write, in the record of what it wrote. */
export interface Answered {
  readonly type: 'answered'
  readonly requestId: RequestId
  /** A plain value that MessagePack can carry. */
  readonly result: unknown
}

export const shardEpochStarted = codec<ShardEpochStarted>(
  'shardEpochStarted',
  tuple({ clusterId: id<ClusterId>(), shardEpoch: uint() }),
)

const anything: Shape<unknown> = {
  form: { kind: 'details' },
  expects: 'anything',
  read: (value) => value,
  write: (value) => value,
}

export const answered = codec<Answered>('answered', tuple({ requestId: id<RequestId>(), result: anything }))
