import { unpackFrame } from '../../protocol/frame.js'
import { groupAssignment, joinGroup } from '../../protocol/messages/group.js'
import { metadataListed } from '../../protocol/messages/metadata.js'
import { queueDeliver } from '../../protocol/messages/queue.js'
import type { HistoryRecorder } from '../checker/recorder.js'

/** A job's lease, as the broker gave it. */
export interface TappedLease {
  readonly leaseId: number
  /** Broker time. */
  readonly deadlineMs: number
}

const OPCODES_SENT: ReadonlySet<number> = new Set([joinGroup.opcode])
const OPCODES_RECEIVED: ReadonlySet<number> = new Set([
  groupAssignment.opcode,
  metadataListed.opcode,
  queueDeliver.opcode,
])

/**
 * Listens in on what a process and the broker tell each other of groups, for what the client keeps to itself: member ids,
 * epochs, cursors and leases. Records assignments as they come; the rest is there to be asked for.
 */
export class WireTap {
  readonly #history: HistoryRecorder
  readonly #topicNames = new Map<string, string>()
  readonly #members = new Map<string, { readonly id: string; readonly since: number }>()
  readonly #groups = new Map<string, string>()
  readonly #epochs = new Map<string, { readonly epoch: number; readonly cursor: number }>()
  readonly #leases = new Map<string, TappedLease>()

  constructor(history: HistoryRecorder) {
    this.#history = history
  }

  /** The member that this process is, or was last, in a group. */
  memberOf(group: string): string {
    return this.#members.get(group)?.id ?? 'nobody'
  }

  /** What was assigned last to a member. */
  assignmentOf(member: string, topic: string, partition: number) {
    return this.#epochs.get(`${member}/${topic}/${partition}`)
  }

  /** The lease under which a member got a job last. */
  leaseOf(member: string, topic: string, partition: number, offset: number): TappedLease | undefined {
    return this.#leases.get(`${member}/${topic}/${partition}/${offset}`)
  }

  sent(message: Uint8Array): void {
    if (!OPCODES_SENT.has(opcodeOf(message))) return
    const { group, memberId } = joinGroup.read(unpackFrame(message))
    if (this.#members.get(group)?.id === memberId) return
    this.#members.set(group, { id: memberId, since: this.#history.next })
    this.#groups.set(memberId, group)
  }

  received(message: Uint8Array): void {
    const opcode = opcodeOf(message)
    if (!OPCODES_RECEIVED.has(opcode)) return
    const frame = unpackFrame(message)
    if (opcode === metadataListed.opcode) {
      for (const { name, topicId } of metadataListed.read(frame).topics) this.#topicNames.set(topicId, name)
    } else if (opcode === groupAssignment.opcode) this.#assigned(frame)
    else this.#delivered(frame)
  }

  #assigned(frame: readonly unknown[]): void {
    const { memberId, assigned } = groupAssignment.read(frame)
    const group = this.#groups.get(memberId)
    if (group === undefined) return
    const since = this.#members.get(group)?.since ?? 0
    for (const { topicId, name, partition, epoch, cursor, startOffset } of assigned) {
      this.#topicNames.set(topicId, name)
      const key = `${memberId}/${name}/${partition}`
      // After a reconnect it is told again of what it has; its own place may be further on.
      if (this.#epochs.get(key)?.epoch === epoch) continue
      const at = Math.max(cursor, startOffset)
      this.#epochs.set(key, { epoch, cursor: at })
      this.#history.record({
        type: 'assigned',
        group,
        member: memberId,
        topicId: name,
        partition,
        generation: epoch,
        cursor: at,
        since,
      })
    }
  }

  #delivered(frame: readonly unknown[]): void {
    const { memberId, topicId, partition, leaseId, deadline, ranges } = queueDeliver.read(frame)
    const topic = this.#topicNames.get(topicId)
    if (topic === undefined) return
    for (const { from, to } of ranges) {
      for (let offset = from; offset < to; offset++) {
        this.#leases.set(`${memberId}/${topic}/${partition}/${offset}`, { leaseId, deadlineMs: deadline })
      }
    }
  }
}

/** Of a packed frame: an array of up to 15 elements, or a longer one, that begins with a small number. */
function opcodeOf(bytes: Uint8Array): number {
  return ((bytes[0] as number) & 0xf0) === 0x90 ? (bytes[1] as number) : (bytes[3] as number)
}
