import { packFrame, packFrameHead } from '../../protocol/frame.js'
import { groupAssignment, groupEnded } from '../../protocol/messages/group.js'
import { queueDeliver } from '../../protocol/messages/queue.js'
import type { MemberLink, Membership } from '../groups/groups-face.js'
import type { Heartbeat } from './heartbeat.js'
import type { Outbox } from './outbox.js'
import type { Rotation, StoredData, Turn } from './rotation.js'

export interface GroupLinkOptions {
  readonly outbox: Outbox
  readonly rotation: Rotation
  readonly heartbeat: Heartbeat
  readonly clientName: string
  /** The member is out. */
  readonly onEnd: (link: GroupLink) => void
}

const NOTHING = new Uint8Array(0)
const MESSAGE_CHARS_MAX = 4096

/** One membership of one connection. What the group says before the client knows that it is in waits. */
export class GroupLink implements MemberLink, Turn {
  readonly clientName: string
  readonly #options: GroupLinkOptions
  #membership: Membership | undefined
  /** Messages from before `joined`. */
  #early: ((membership: Membership) => void)[] = []
  readonly #deliveries: { readonly head: Uint8Array; readonly data: StoredData }[] = []
  readonly #closeListeners: (() => void)[] = []
  #stopPinging: (() => void) | undefined
  #isClosed = false

  constructor(options: GroupLinkOptions) {
    this.#options = options
    this.clientName = options.clientName
  }

  /** The client has been told that it is in: what waits goes out. */
  joined(membership: Membership, sessionTimeoutMs: number): void {
    this.#membership = membership
    // Three pings in the time, so that a lost moment costs nobody the membership.
    if (!this.#isClosed) this.#stopPinging = this.#options.heartbeat.require(sessionTimeoutMs / 3)
    for (const say of this.#early.splice(0)) say(membership)
  }

  assign(message: Parameters<MemberLink['assign']>[0]): void {
    this.#say((membership) => {
      this.#options.outbox.send(packFrame(groupAssignment.write({ ...membership, ...message })))
    })
  }

  end({ code, message, retriable }: Parameters<MemberLink['end']>[0]): void {
    this.#say((membership) => {
      const reason = { code, message: message.slice(0, MESSAGE_CHARS_MAX), retriable }
      this.#options.outbox.send(packFrame(groupEnded.write({ ...membership, ...reason })))
    })
    this.#stop()
    this.#options.onEnd(this)
  }

  deliver(
    message: Parameters<MemberLink['deliver']>[0],
    payloads: readonly Uint8Array[],
    release: () => void,
  ): void {
    if (this.#isClosed) {
      release()
      return
    }
    this.#say((membership) => {
      let bytes = 0
      for (const payload of payloads) bytes += payload.length
      const frame = queueDeliver.write({ ...membership, ...message, payloads: NOTHING })
      const head = packFrameHead(frame.slice(0, -1), bytes)
      this.#deliveries.push({ head, data: { buffers: payloads, bytes, release } })
      this.#options.rotation.enter(this)
    })
  }

  turn(): void {
    const delivery = this.#deliveries.shift()
    if (delivery === undefined) return
    this.#options.rotation.send(delivery.head, delivery.data)
    if (this.#deliveries.length > 0) this.#options.rotation.enter(this)
  }

  silentMs(): number {
    return this.#options.heartbeat.silentMs()
  }

  whenClosed(closed: () => void): void {
    if (this.#isClosed) queueMicrotask(closed)
    else this.#closeListeners.push(closed)
  }

  /** The connection is gone, or the client never became a member. */
  close(): void {
    if (this.#isClosed) return
    this.#stop()
    for (const closed of this.#closeListeners.splice(0)) closed()
  }

  #stop(): void {
    this.#isClosed = true
    this.#stopPinging?.()
    this.#options.rotation.leave(this)
    for (const { data } of this.#deliveries.splice(0)) data.release()
  }

  #say(what: (membership: Membership) => void): void {
    if (this.#membership === undefined) this.#early.push(what)
    else what(this.#membership)
  }
}
