import type { MemberLink } from '../../broker/groups/member-link.js'
import type { GroupAssignment } from '../../protocol/messages/group.js'

type Assignment = Parameters<MemberLink['assign']>[0]
type End = Parameters<MemberLink['end']>[0]

/** A member's connection that keeps what is sent over it. */
export class FakeMemberLink implements MemberLink {
  readonly clientName: string
  readonly assignments: Assignment[] = []
  ended: End | undefined
  /** Since its peer was heard last; by default it is heard all the time. */
  silence = (): number => 0
  #closed: (() => void)[] | undefined = []

  constructor(clientName = 'test') {
    this.clientName = clientName
  }

  /** What the member has after all that it was sent, by `topicId/partition`. */
  get owned(): Map<string, GroupAssignment['assigned'][number]> {
    const owned = new Map<string, GroupAssignment['assigned'][number]>()
    for (const { assigned, revoked } of this.assignments) {
      for (const each of assigned) owned.set(`${each.topicId}/${each.partition}`, each)
      for (const { topicId, partition } of revoked) owned.delete(`${topicId}/${partition}`)
    }
    return owned
  }

  get last(): Assignment {
    return this.assignments.at(-1) ?? { epoch: 0, assigned: [], revoked: [] }
  }

  assign(message: Assignment): void {
    this.assignments.push(message)
  }

  end({ code, message, retriable }: End): void {
    this.ended = { code, message, retriable }
  }

  deliver(..._: Parameters<MemberLink['deliver']>): void {
    throw new Error('a consumer gets no jobs')
  }

  silentMs(): number {
    return this.silence()
  }

  whenClosed(closed: () => void): void {
    if (this.#closed === undefined) queueMicrotask(closed)
    else this.#closed.push(closed)
  }

  /** The connection is gone. */
  close(): void {
    const closed = this.#closed ?? []
    this.#closed = undefined
    for (const each of closed) each()
  }
}
