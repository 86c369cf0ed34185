import type { Message } from '../../protocol/messages/message.js'
import type { Fields, FieldsOf } from '../../protocol/shape.js'
import type { Clock } from '../platform/clock.js'
import type { Metrics } from '../platform/metrics.js'
import type { AppendSource, ShardFace } from '../shard/shard-face.js'
import type { Acks } from './acks.js'
import type { Fetches } from './fetches.js'
import type { InFlight } from './flow-control.js'
import type { SessionLimits } from './limits.js'
import type { SessionGroups } from './session-groups.js'
import type { Subscriptions } from './subscriptions.js'

/** What a handler sees of its connection. */
export interface SessionContext {
  readonly shard: ShardFace
  readonly limits: SessionLimits
  readonly clock: Clock
  readonly metrics: Metrics
  /** For example `millrace/0.1.0`. */
  readonly brokerName: string
  readonly isOpen: boolean
  readonly inFlight: InFlight
  readonly acks: Acks
  readonly fetches: Fetches
  readonly subscriptions: Subscriptions
  /** Consumer groups and work queues, as this connection's members use them. */
  readonly groups: SessionGroups
  /** Where this connection's batches go. */
  readonly source: AppendSource
  /** HELLO was accepted. */
  opened(clientName: string): void
  /** Closes after what has been sent. */
  close(code: number, reason: string): void
  reply<F extends Fields>(message: Message<string, F>, fields: FieldsOf<F>): void
  /** Answers a request with an ERROR; what is no MillraceError is logged and answered as INTERNAL. */
  fail(correlationId: number, error: unknown): void
  /** Runs after what was queued here before: reads from disk on behalf of one connection go one by one. */
  inTurn(run: () => Promise<void>): Promise<void>
}
