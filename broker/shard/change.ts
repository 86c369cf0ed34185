import type { AppendBatch } from './append-batch.js'
import type { Command } from './commands.js'
import type { AppendAck } from './sequencer.js'

/** What a change writes, in one WAL record. No commands and no batches: the answer needs no write. */
export interface Decision<T> {
  readonly commands: readonly Command[]
  /** Of the broker itself: no producer, no dedup ids. Their topics exist and stay; `result` gets the acks in this order. */
  readonly appends?: readonly AppendBatch[]
  readonly result: T | ((acks: readonly AppendAck[]) => T)
}

/** A change other than what producers append. It is decided when its group is cut, against the state as it is then. */
export interface Change<T> {
  /** Bytes of the largest `appends` that it may decide on: a change that does not fit waits for the next group. */
  readonly appendBytes?: number
  /**
   * Says what to write and what to answer, or throws a refusal. `claimed` holds the names that other changes of this
   * group touch: return undefined to be asked again for the next group. All checks come before the first twin is set:
   * after a decision there is only commit or death.
   */
  decide(at: { time: number; claimed: Set<string> }): Decision<T> | undefined
}
