import type { ClusterId } from '../../protocol/ids.js'
import type { SegmentHeader } from './segment.js'

/** Names a WAL: segments of another one are refused. */
export interface WalIdentity {
  readonly clusterId: ClusterId
  readonly walId: string
}

/** Where the WAL ends: the last group, and the byte behind it. */
export interface WalEnd {
  readonly sequence: number
  readonly headerCrc: number
  readonly segment: SegmentHeader
  readonly position: number
}
