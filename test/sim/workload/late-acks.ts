import { ACKNOWLEDGEMENT, type Acknowledgeable } from '../../../client/acknowledgement.js'
import type { CursorAck, Partition } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { assertPossible, recorded } from './recorded-writes.js'

/** An ack that its member never gave. */
interface Late {
  readonly at: Omit<CursorAck, 'kind'>
  readonly ack: Acknowledgeable
}

/**
 * Acks of memberships that are over, given all the same, as by a process that was stopped for long. Atomically, which any connection
 * may: our client would give none of them.
 */
export class LateAcks {
  readonly #lab: Lab
  readonly #process: ClientProcess
  #kept: Late | undefined

  constructor(lab: Lab, process: ClientProcess) {
    this.#lab = lab
    this.#process = process
  }

  /** What a member was given and will do nothing about. */
  keep(at: Omit<CursorAck, 'kind'>): void {
    const { topicId: name, member, partition, offset } = at
    const assignment = this.#process.tap.assignmentOf(member, name, partition)
    if (assignment === undefined) return
    const { groupId, memberId, topicId, epoch } = assignment
    const ack = { kind: 'cursor', groupId, memberId, topicId, partition, epoch, offset } as const
    const carried = { ack, done: () => {}, failed: () => {} }
    this.#kept = { at, ack: { [ACKNOWLEDGEMENT]: () => carried } }
  }

  /** Gives the ack that was kept, now that a later membership has got the same partition. */
  async give({ topicId, partition }: Partition): Promise<void> {
    const late = this.#kept
    if (late?.at.partition !== partition || late.at.topicId !== topicId) return
    this.#kept = undefined
    const { client } = this.#process
    const outcome = await recorded(this.#lab.history, { type: 'ack', ...late.at }, () =>
      client.atomic({ acks: [late.ack] }),
    )
    if ('error' in outcome) assertPossible(outcome.error)
  }
}
