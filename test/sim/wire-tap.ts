import { unpackFrame } from '../../protocol/frame.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'
import { error } from '../../protocol/messages/error.js'
import { groupAssignment, groupEnded, joinGroup } from '../../protocol/messages/group.js'
import { metadataListed } from '../../protocol/messages/metadata.js'
import { queueDeliver } from '../../protocol/messages/queue.js'
import { subscriptionEnded } from '../../protocol/messages/subscribe.js'
import type { HistoryRecorder } from '../checker/recorder.js'
import { ServedTap } from './served-tap.js'

/** A partition as it was assigned to a member, by the ids that acks carry. */
export interface TappedAssignment {
  readonly groupId: number
  readonly memberId: MemberId
  readonly topicId: TopicId
  readonly epoch: number
  /** Where it was to go on. */
  readonly cursor: number
}

/** A job's lease, as the broker gave it. */
export interface TappedLease {
  readonly leaseId: number
  /** Broker time. */
  readonly deadlineMs: number
}

const OPCODES_SENT: ReadonlySet<number> = new Set([joinGroup.opcode])
/** Frames in which the broker says what is wrong. */
const COMPLAINTS = new Map([error, subscriptionEnded, groupEnded].map((message) => [message.opcode, message]))
const OPCODES_RECEIVED: ReadonlySet<number> = new Set([
  groupAssignment.opcode,
  metadataListed.opcode,
  queueDeliver.opcode,
  ...ServedTap.opcodes,
  ...COMPLAINTS.keys(),
])

/**
 * Listens in on what a process and the broker tell each other of groups, for what the client keeps to itself: member ids,
 * epochs, cursors and leases. Records assignments as they come; the rest is there to be asked for.
 */
export class WireTap {
  readonly #history: HistoryRecorder
  readonly #onComplaint: (code: string) => void
  readonly #topicNames = new Map<string, string>()
  readonly #members = new Map<string, { readonly id: string; readonly since: number }>()
  readonly #groups = new Map<string, string>()
  readonly #assignments = new Map<string, TappedAssignment>()
  readonly #leases = new Map<string, TappedLease>()
  readonly #served: ServedTap

  constructor(history: HistoryRecorder, onComplaint: (code: string) => void = () => {}) {
    this.#history = history
    this.#served = new ServedTap(history, (topicId) => this.#topicNames.get(topicId))
    this.#onComplaint = onComplaint
  }

  /** The member that this process is, or was last, in a group. */
  memberOf(group: string): string {
    return this.#members.get(group)?.id ?? 'nobody'
  }

  /** What was assigned last to a member. */
  assignmentOf(member: string, topic: string, partition: number): TappedAssignment | undefined {
    return this.#assignments.get(`${member}/${topic}/${partition}`)
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
    if (ServedTap.opcodes.includes(opcode)) {
      this.#served.received(opcode, message)
      return
    }
    const frame = unpackFrame(message)
    const complaint = COMPLAINTS.get(opcode)
    if (complaint !== undefined) {
      this.#onComplaint(complaint.read(frame).code)
      return
    }
    if (opcode === metadataListed.opcode) {
      for (const { name, topicId } of metadataListed.read(frame).topics) this.#topicNames.set(topicId, name)
    } else if (opcode === groupAssignment.opcode) this.#assigned(frame)
    else this.#delivered(frame)
  }

  #assigned(frame: readonly unknown[]): void {
    const { groupId, memberId, assigned } = groupAssignment.read(frame)
    const group = this.#groups.get(memberId)
    if (group === undefined) return
    const since = this.#members.get(group)?.since ?? 0
    for (const { topicId, name, partition, epoch, cursor, startOffset } of assigned) {
      this.#topicNames.set(topicId, name)
      const key = `${memberId}/${name}/${partition}`
      // After a reconnect it is told again of what it has; its own place may be further on.
      if (this.#assignments.get(key)?.epoch === epoch) continue
      const at = Math.max(cursor, startOffset)
      this.#assignments.set(key, { groupId, memberId, topicId, epoch, cursor: at })
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
