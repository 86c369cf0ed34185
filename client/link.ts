import { openSocket } from '#socket'
import { MillraceError } from '../protocol/error-codes.js'
import { packFrame, unpackFrame } from '../protocol/frame.js'
import type { MemberId } from '../protocol/ids.js'
import { error as errorMessage } from '../protocol/messages/error.js'
import { type GoingAway, goingAway } from '../protocol/messages/going-away.js'
import { type GroupAssignment, groupAssignment, groupEnded } from '../protocol/messages/group.js'
import { hello, type Welcome, welcome } from '../protocol/messages/hello.js'
import { ping, pong } from '../protocol/messages/ping.js'
import { type ProduceAck, produced } from '../protocol/messages/produce.js'
import { type QueueDeliver, queueDeliver } from '../protocol/messages/queue.js'
import { type Deliver, deliver, subscriptionEnded } from '../protocol/messages/subscribe.js'
import { PROTOCOL_VERSION, SUBPROTOCOL } from '../protocol/version.js'
import type { Clock, Timer } from './clock.js'
import type { Closing, OpenSocket, Socket } from './platform/socket.js'
import { errorFrom, Replies, type Reply } from './replies.js'

export interface LinkOptions {
  readonly url: string
  readonly clientName: string
  readonly credential: Uint8Array | null
  readonly frameBytesMax: number
  /** Opening, greeting and being greeted take at most so long. */
  readonly connectTimeoutMs: number
  /** Quiet time after which a PING is sent. */
  readonly pingIntervalMs: number
  /** Time in which anything has to come back. */
  readonly pingTimeoutMs: number
  readonly clock: Clock
  readonly openSocket?: OpenSocket | undefined
}

export interface LinkListener {
  /** WELCOME has come: requests may be sent. */
  onReady(link: Link): void
  /** The broker will close; it takes no new requests. */
  onGoingAway(notice: GoingAway): void
  /** Exactly once; all unanswered requests have failed with this error already. */
  onClose(error: MillraceError): void
}

/** What takes the frames of one subscription. */
export interface DeliveryTarget {
  delivered(delivery: Deliver): void
  ended(error: MillraceError): void
}

/** What takes the frames of one membership of a consumer group or work queue. */
export interface MemberTarget {
  assigned(assignment: GroupAssignment): void
  /** Work queues alone. */
  delivered(jobs: QueueDeliver): void
  /** The member is out. */
  ended(error: MillraceError): void
}

/** What waits for one PRODUCE or PRODUCE_CHECKED. */
export interface ProduceReply {
  readonly wireBytes: number
  acked(ack: ProduceAck): void
  /** The answer to PRODUCE_CHECKED, unpacked. Throws BAD_FRAME. */
  answered(frame: readonly unknown[]): void
  failed(error: MillraceError): void
}

type AnyReply = Reply | ProduceReply

/** One WebSocket from HELLO to its end. It never comes back: the connection opens another. */
export class Link {
  readonly #options: LinkOptions
  readonly #listener: LinkListener
  readonly #socket: Socket
  readonly #replies = new Replies<AnyReply>()
  readonly #deliveryTargets = new Map<number, DeliveryTarget>()
  readonly #memberTargets = new Map<MemberId, MemberTarget>()
  readonly #roomWaiters = new Set<() => void>()
  #state: 'opening' | 'ready' | 'closed' = 'opening'
  #closeError: MillraceError | undefined
  #welcome: Welcome | undefined
  #isGoingAway = false
  #timer: Timer
  #receivedAtMs: number
  #produceBytes = 0

  /** Throws what the socket throws when it cannot even be made. */
  constructor(options: LinkOptions, listener: LinkListener) {
    this.#options = options
    this.#listener = listener
    this.#receivedAtMs = options.clock.monotonic()
    this.#socket = (options.openSocket ?? openSocket)(
      { url: options.url, subprotocol: SUBPROTOCOL, frameBytesMax: options.frameBytesMax },
      {
        onOpen: () => this.#sayHello(),
        onMessage: (message) => this.#received(message),
        onClose: (closing) => this.#closed(closing),
      },
    )
    this.#timer = options.clock.setTimer(
      () => this.fail(lost(`the broker did not answer within ${options.connectTimeoutMs} ms`)),
      options.connectTimeoutMs,
    )
  }

  /** Only after onReady. */
  get welcome(): Welcome {
    if (this.#welcome === undefined) throw new Error('the link is not ready')
    return this.#welcome
  }

  /** Whether new requests make sense. */
  get isUsable(): boolean {
    return this.#state === 'ready' && !this.#isGoingAway
  }

  get isOpen(): boolean {
    return this.#state === 'ready'
  }

  /** Sends a request; `write` gets the correlation id. On a closed link the reply fails at once. */
  request(write: (correlationId: number) => unknown[], reply: Reply): void {
    if (this.#state === 'closed') reply.failed(this.#closeError ?? lost('the connection is closed'))
    else this.send(write(this.#replies.add(reply)))
  }

  /** Sends a PRODUCE or PRODUCE_CHECKED and returns the frame's bytes, which end with the payload. Only while the link is open. */
  produce(write: (correlationId: number) => unknown[], reply: ProduceReply): Uint8Array {
    const frame = packFrame(write(this.#replies.add(reply)))
    this.#produceBytes += reply.wireBytes
    this.#socket.send(frame)
    return frame
  }

  /** Sends a frame that has no answer. */
  send(frame: unknown[]): void {
    if (this.#state !== 'closed') this.#socket.send(packFrame(frame))
  }

  /** Whether the broker would read one more PRODUCE of this size, or leave it in the network. */
  hasRoom(wireBytes: number): boolean {
    return this.#produceBytes === 0 || this.#produceBytes + wireBytes <= this.welcome.limits.inFlightBytesMax
  }

  /** Calls `wake` once when there may be room again. */
  onRoom(wake: () => void): void {
    this.#roomWaiters.add(wake)
  }

  deliverTo(subscriptionId: number, target: DeliveryTarget): void {
    this.#deliveryTargets.set(subscriptionId, target)
  }

  deliverNoMore(subscriptionId: number): void {
    this.#deliveryTargets.delete(subscriptionId)
  }

  /** Member ids are drawn at random: two groups never share one. */
  memberFramesTo(memberId: MemberId, target: MemberTarget): void {
    this.#memberTargets.set(memberId, target)
  }

  memberFramesNoMore(memberId: MemberId): void {
    this.#memberTargets.delete(memberId)
  }

  /** A goodbye; what is unanswered fails with `error`. */
  close(error: MillraceError): void {
    this.#closeError ??= error
    this.#socket.close(1000, '')
  }

  /** Drops the connection for `error`. */
  fail(error: MillraceError): void {
    this.#closeError ??= error
    this.#socket.terminate()
  }

  #sayHello(): void {
    const { clientName, credential } = this.#options
    const reply: Reply = { answered: (frame) => this.#welcomed(frame), failed: (error) => this.fail(error) }
    this.request(
      (correlationId) =>
        hello.write({
          correlationId,
          minVersion: PROTOCOL_VERSION,
          maxVersion: PROTOCOL_VERSION,
          clientName,
          credential,
          features: [],
        }),
      reply,
    )
  }

  #welcomed(frame: readonly unknown[]): void {
    if (frame[0] !== welcome.opcode) throw unexpected(frame)
    this.#welcome = welcome.read(frame)
    this.#state = 'ready'
    this.#timer.cancel()
    this.#armPing()
    this.#listener.onReady(this)
  }

  #received(message: Uint8Array): void {
    if (this.#state === 'closed') return
    this.#receivedAtMs = this.#options.clock.monotonic()
    try {
      this.#dispatch(unpackFrame(message))
    } catch (cause) {
      if (!(cause instanceof MillraceError) || cause.code !== 'BAD_FRAME') throw cause
      // Whoever sends this does not speak the protocol: what else it says cannot be trusted either.
      this.fail(lost(`the broker sent what the protocol does not know: ${cause.message}`, cause))
    }
  }

  #dispatch(frame: readonly unknown[]): void {
    switch (frame[0]) {
      case produced.opcode:
        this.#acked(produced.read(frame).acks)
        break
      case deliver.opcode: {
        const delivery = deliver.read(frame)
        this.#deliveryTargets.get(delivery.subscriptionId)?.delivered(delivery)
        break
      }
      case errorMessage.opcode:
        this.#refused(frame)
        break
      case subscriptionEnded.opcode: {
        const fields = subscriptionEnded.read(frame)
        const target = this.#deliveryTargets.get(fields.subscriptionId)
        this.#deliveryTargets.delete(fields.subscriptionId)
        target?.ended(errorFrom(fields))
        break
      }
      case groupAssignment.opcode: {
        const assignment = groupAssignment.read(frame)
        this.#memberTargets.get(assignment.memberId)?.assigned(assignment)
        break
      }
      case queueDeliver.opcode: {
        const jobs = queueDeliver.read(frame)
        this.#memberTargets.get(jobs.memberId)?.delivered(jobs)
        break
      }
      case groupEnded.opcode: {
        const { memberId, ...fields } = groupEnded.read(frame)
        const target = this.#memberTargets.get(memberId)
        this.#memberTargets.delete(memberId)
        target?.ended(errorFrom({ ...fields, details: null }))
        break
      }
      case goingAway.opcode:
        this.#isGoingAway = true
        this.#listener.onGoingAway(goingAway.read(frame))
        this.#closeWhenDone()
        break
      default: {
        const reply = this.#replies.take(frame[1] as number)
        // An unknown opcode without a waiting request is a notice of a later version.
        if (reply === undefined) break
        this.#answer(reply, frame)
        this.#wakeForRoom()
        this.#closeWhenDone()
      }
    }
  }

  #answer(reply: AnyReply, frame: readonly unknown[]): void {
    try {
      if ('wireBytes' in reply) this.#produceBytes -= reply.wireBytes
      reply.answered(frame)
    } catch (error) {
      reply.failed(lost('the answer cannot be understood', error))
      throw error
    }
  }

  #acked(acks: readonly ProduceAck[]): void {
    for (const ack of acks) {
      const reply = this.#replies.take(ack.correlationId)
      if (reply === undefined || !('acked' in reply)) continue
      this.#produceBytes -= reply.wireBytes
      reply.acked(ack)
    }
    this.#wakeForRoom()
    this.#closeWhenDone()
  }

  #refused(frame: readonly unknown[]): void {
    const fields = errorMessage.read(frame)
    const error = errorFrom(fields)
    const reply = this.#replies.take(fields.correlationId)
    if (reply === undefined) {
      // Correlation id 0: about the connection as a whole, which the broker then closes.
      if (fields.correlationId === 0) this.#closeError ??= error
      return
    }
    if ('wireBytes' in reply) this.#produceBytes -= reply.wireBytes
    reply.failed(error)
    this.#wakeForRoom()
    this.#closeWhenDone()
  }

  #wakeForRoom(): void {
    if (this.#roomWaiters.size === 0) return
    const waiters = [...this.#roomWaiters]
    this.#roomWaiters.clear()
    for (const wake of waiters) wake()
  }

  /** After GOING_AWAY nothing is left to wait for once the last answer is there. */
  #closeWhenDone(): void {
    if (this.#isGoingAway && this.#replies.count === 0) this.close(lost('the broker is going away'))
  }

  #armPing(): void {
    const { clock, pingIntervalMs } = this.#options
    this.#timer = clock.setTimer(() => {
      if (clock.monotonic() - this.#receivedAtMs < pingIntervalMs) this.#armPing()
      else this.#ping()
    }, pingIntervalMs)
  }

  #ping(): void {
    const { clock, pingTimeoutMs } = this.#options
    const sentAtMs = clock.monotonic()
    this.request((correlationId) => ping.write({ correlationId }), {
      answered: (frame) => {
        if (frame[0] !== pong.opcode) throw unexpected(frame)
        this.#timer.cancel()
        this.#armPing()
      },
      failed: () => {},
    })
    const failIfSilent = (): void => {
      // Whatever has come is a sign of life; the answer may stand behind a lot of it.
      if (this.#receivedAtMs > sentAtMs) this.#armPing()
      else this.fail(lost(`the broker has been silent for ${pingTimeoutMs} ms after a PING`))
    }
    this.#timer = clock.setTimer(() => {
      // A blocked event loop runs late timers before it reads the socket: give it one more turn.
      this.#timer = clock.setTimer(failIfSilent, LAST_LOOK_MS)
    }, pingTimeoutMs)
  }

  #closed(closing: Closing): void {
    this.#state = 'closed'
    this.#timer.cancel()
    const error = this.#closeError ?? errorOf(closing)
    this.#closeError = error
    this.#deliveryTargets.clear()
    this.#memberTargets.clear()
    this.#roomWaiters.clear()
    this.#replies.failAll(error)
    this.#listener.onClose(error)
  }
}

const LAST_LOOK_MS = 250

function errorOf({ code, reason, httpStatus, cause }: Closing): MillraceError {
  if (httpStatus === 401 || httpStatus === 403) {
    return new MillraceError('UNAUTHENTICATED', {
      message: `the broker refused the connection: HTTP ${httpStatus}`,
    })
  }
  if (httpStatus !== undefined) return lost(`no WebSocket there: HTTP ${httpStatus}`, cause)
  if (cause instanceof Error) return lost(`the connection failed: ${cause.message || describe(cause)}`, cause)
  return lost(`the connection closed (${code}${reason === '' ? '' : `: ${reason}`})`)
}

/** An AggregateError of several addresses has no message, but a code. */
const describe = (error: Error): string => (error as { code?: string }).code ?? error.name

function lost(message: string, cause?: unknown): MillraceError {
  return new MillraceError('CONNECTION_LOST', { message, cause })
}

const unexpected = (frame: readonly unknown[]): MillraceError =>
  new MillraceError('BAD_FRAME', { message: `opcode ${String(frame[0])} does not answer this request` })
