import type { MemberId } from '../../protocol/ids.js'
import type { GroupAssignment } from '../../protocol/messages/group.js'
import type { QueueDeliver } from '../../protocol/messages/queue.js'

/** A membership as its frames name it. */
export interface Membership {
  readonly groupId: number
  readonly memberId: MemberId
}

/** One member on one connection, as its group sees it: the session's links satisfy it. Nothing here throws. */
export interface MemberLink {
  /** What the client called itself. */
  readonly clientName: string
  /** What is the member's from now on, and what it is to hand back. */
  assign(message: Omit<GroupAssignment, keyof Membership>): void
  /** The member is out; nothing follows. The connection stays. */
  end(reason: { code: string; message: string; retriable: boolean }): void
  /** Sends jobs in their turn; `release` is called once, when the payloads are sent or will not be. */
  deliver(
    message: Omit<QueueDeliver, keyof Membership | 'payloads'>,
    payloads: readonly Uint8Array[],
    release: () => void,
  ): void
  /** How long the peer has shown no sign of life; 0 while we ourselves do not read its socket. */
  silentMs(): number
  /** Calls back once, when the connection is gone; soon, if it is gone already. */
  whenClosed(closed: () => void): void
}
