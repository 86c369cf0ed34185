import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { WebSocket } from 'ws'
import { MillraceError } from '../../protocol/error-codes.js'
import { packFrame, unpackFrame } from '../../protocol/frame.js'
import { error as errorMessage } from '../../protocol/messages/error.js'
import { goingAway } from '../../protocol/messages/going-away.js'
import { hello } from '../../protocol/messages/hello.js'
import type { Message } from '../../protocol/messages/message.js'
import { subscriptionEnded } from '../../protocol/messages/subscribe.js'
import type { Fields, FieldsOf } from '../../protocol/shape.js'
import type { GroupsFace } from '../groups/groups-face.js'
import type { Clock, Timer } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { AppendSource, ShardFace } from '../shard/shard-face.js'
import { Acks } from './acks.js'
import type { ByteBudget } from './byte-budget.js'
import { CLOSE } from './close-codes.js'
import type { SessionContext } from './context.js'
import { dispatch, isReleasedByHandler, type RefuseRequest } from './dispatch.js'
import type { FairQueue } from './fair-queue.js'
import { Fetches } from './fetches.js'
import { InFlight, type InFlightBudget, PAUSE, ReadGate } from './flow-control.js'
import type { FrameMemory } from './frame-memory.js'
import { Heartbeat } from './heartbeat.js'
import { Inlet } from './inlet.js'
import type { SessionLimits } from './limits.js'
import { Outbox } from './outbox.js'
import { ReceivedFrame } from './received-frame.js'
import { Rotation } from './rotation.js'
import { SessionGroups } from './session-groups.js'
import { Subscriptions } from './subscriptions.js'

/** What all sessions of a broker share. */
export interface SessionEnvironment {
  readonly shard: ShardFace
  readonly groups: GroupsFace
  readonly limits: SessionLimits
  readonly clock: Clock
  readonly metrics: Metrics
  readonly failpoints: Failpoints
  readonly fairQueue: FairQueue
  readonly frameMemory: FrameMemory
  readonly inFlightBudget: InFlightBudget
  readonly deliveryBudget: ByteBudget
  readonly replyBudget: ByteBudget
  readonly brokerName: string
  readonly refuse?: RefuseRequest | undefined
}

type State = 'awaitingHello' | 'open' | 'draining' | 'closed'

/** One connection, from the upgrade to the socket's end. */
export class Session implements SessionContext {
  readonly shard: ShardFace
  readonly limits: SessionLimits
  readonly clock: Clock
  readonly metrics: Metrics
  readonly brokerName: string
  readonly inFlight: InFlight
  readonly acks: Acks
  readonly fetches: Fetches
  readonly subscriptions: Subscriptions
  readonly groups: SessionGroups
  /** What comes from the socket goes in here. */
  readonly inlet: Inlet
  readonly #webSocket: WebSocket
  readonly #log: Logger
  readonly #outbox: Outbox
  readonly #rotation: Rotation
  readonly #gate: ReadGate
  readonly #heartbeat: Heartbeat
  readonly #helloTimer: Timer
  readonly #refuse: RefuseRequest | undefined
  #source: AppendSource | undefined
  #queue: Promise<void> = Promise.resolve()
  #clientName = ''
  #state: State = 'awaitingHello'

  constructor(
    environment: SessionEnvironment,
    connection: {
      webSocket: WebSocket
      socket: Socket
      log: Logger
      /** From 0 to 1. */
      jitter: number
      onClosed: () => void
    },
  ) {
    const { shard, limits, clock, metrics, fairQueue } = environment
    const { webSocket, socket } = connection
    this.shard = shard
    this.limits = limits
    this.clock = clock
    this.metrics = metrics
    this.brokerName = environment.brokerName
    this.#webSocket = webSocket
    this.#log = connection.log
    this.#refuse = environment.refuse
    this.#gate = new ReadGate(webSocket)
    this.inFlight = new InFlight({
      gate: this.#gate,
      budget: environment.inFlightBudget,
      bytesMax: limits.inFlightBytesMax,
    })
    this.#outbox = new Outbox({
      webSocket,
      socket,
      gate: this.#gate,
      bytesMax: limits.outBufferBytesMax,
      budget: environment.replyBudget,
      // The client took its replies: on with what it had asked meanwhile, and with stored data.
      onDrain: () => {
        this.inlet.resume()
        this.#rotation.resume()
      },
    })
    this.inlet = new Inlet({
      memory: environment.frameMemory,
      frameBytesMax: limits.frameBytesMax,
      gate: this.#gate,
      inFlight: this.inFlight,
      queue: fairQueue,
      clock,
      isHeldBack: () => this.#outbox.isFull,
      onFrame: (frame) => this.#receive(frame),
      pass: (bytes) => {
        // The library may answer: after what was answered before.
        this.#outbox.flush()
        socket.emit('data', bytes)
      },
    })
    this.acks = new Acks({ outbox: this.#outbox, failpoints: environment.failpoints })
    this.#rotation = new Rotation({
      outbox: this.#outbox,
      fairQueue,
      budget: environment.deliveryBudget,
      limits,
    })
    const reading = { shard, rotation: this.#rotation, clock, metrics, limits }
    this.fetches = new Fetches({ ...reading, onFail: (id, error) => this.fail(id, error) })
    this.subscriptions = new Subscriptions({
      ...reading,
      deliverBytesMax: limits.deliverBytesMax,
      countMax: limits.subscriptionsPerConnectionMax,
      onEnd: (id, error) => this.#subscriptionEnded(id, error),
    })
    this.#helloTimer = clock.setTimer(() => this.#helloIsLate(), limits.helloTimeoutMs, { unref: true })
    this.#heartbeat = new Heartbeat({
      socket,
      clock,
      limits,
      jitter: connection.jitter,
      isReadingPaused: () => this.#gate.isPaused,
      ping: () => webSocket.ping(),
      onDead: (reason) => this.#drop(reason),
    })
    this.groups = new SessionGroups(environment.groups, () => ({
      outbox: this.#outbox,
      rotation: this.#rotation,
      heartbeat: this.#heartbeat,
      clientName: this.#clientName,
    }))
    this.#listen(connection.onClosed)
  }

  get isOpen(): boolean {
    return this.#state === 'open' || this.#state === 'draining'
  }

  /** Whether every request has been answered and every answer has left. */
  get isIdle(): boolean {
    const { inFlight, acks, inlet } = this
    return inlet.isEmpty && inFlight.requests === 0 && acks.isEmpty && this.#outbox.waitingBytes === 0
  }

  get source(): AppendSource {
    this.#source ??= this.shard.openSource({
      onPressure: (isPaused) => (isPaused ? this.#gate.pause(PAUSE.shard) : this.#gate.resume(PAUSE.shard)),
    })
    return this.#source
  }

  opened(clientName: string): void {
    this.#state = 'open'
    this.#clientName = clientName
    this.#helloTimer.cancel()
    this.#log.debug({ clientName }, 'client connected')
  }

  reply<F extends Fields>(message: Message<string, F>, fields: FieldsOf<F>): void {
    // What is let go of at the end has no answer: the close is the last word.
    if (this.#state === 'closed') return
    this.#outbox.send(packFrame(message.write(fields)))
  }

  fail(correlationId: number, error: unknown): void {
    const { code, message, retriable, outcome, retryAfterMs, details } = this.#operatingError(error)
    this.reply(errorMessage, {
      correlationId,
      code,
      message: message.slice(0, MESSAGE_CHARS_MAX),
      retriable,
      outcome: outcome === 'unknown' ? 1 : 0,
      retryAfterMs: retryAfterMs ?? null,
      details: details ?? null,
    })
  }

  inTurn(run: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(() => (this.#state === 'closed' ? undefined : run()))
    this.#queue = done.catch(() => undefined)
    return done
  }

  close(code: number, reason: string): void {
    if (this.#state === 'closed') return
    this.#outbox.flush()
    this.#end()
    this.#webSocket.close(code, reason)
  }

  /** Cuts the connection at once. */
  terminate(): void {
    this.#end()
    this.#webSocket.terminate()
  }

  /** Refuses new mutations, tells the client to go, and has what waits answered. */
  drain(options: { reason: string; deadlineMs: number }): void {
    if (this.#state === 'awaitingHello') this.close(CLOSE.goingAway, options.reason)
    if (this.#state !== 'open') return
    this.#state = 'draining'
    this.reply(goingAway, options)
    this.subscriptions.closeAll()
    this.fetches.hurry()
  }

  #listen(onClosed: () => void): void {
    // What the intake did not take: text, fragments.
    this.#webSocket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#receive(new ReceivedFrame(data))
      else this.close(CLOSE.unsupportedData, 'frames are binary')
    })
    // Broken framing or an oversize message: ws has sent the close code already.
    this.#webSocket.on('error', (error) => {
      this.#log.debug({ reason: error.message }, 'connection failed')
      this.#end()
    })
    this.#webSocket.on('close', () => {
      this.#end()
      this.inlet.close()
      onClosed()
    })
  }

  /** Takes a frame, whose release becomes this session's. */
  #receive(received: ReceivedFrame): void {
    if (this.#state === 'closed') {
      received.release()
      return
    }
    const kept = isReleasedByHandler(received.bytes) ? received : received.owned()
    let frame: unknown[]
    try {
      frame = unpackFrame(kept.bytes)
    } catch (error) {
      kept.release()
      this.fail(0, error)
      this.close(CLOSE.invalidPayload, 'not a frame')
      return
    }
    if (this.#state === 'awaitingHello' && frame[0] !== hello.opcode) {
      kept.release()
      this.fail(0, new MillraceError('HELLO_REQUIRED'))
      this.close(CLOSE.policy, 'the first frame must be HELLO')
      return
    }
    dispatch(this, frame, {
      received: kept,
      isDraining: this.#state === 'draining',
      refuse: this.#refuse,
    })
  }

  #subscriptionEnded(subscriptionId: number, error: unknown): void {
    const { code, message, retriable, details } = this.#operatingError(error)
    this.reply(subscriptionEnded, {
      subscriptionId,
      code,
      message: message.slice(0, MESSAGE_CHARS_MAX),
      retriable,
      details: details ?? null,
    })
  }

  #operatingError(error: unknown): MillraceError {
    if (error instanceof MillraceError) return error
    this.#log.error({ err: error }, 'a request failed unexpectedly')
    return new MillraceError('INTERNAL')
  }

  #helloIsLate(): void {
    this.#log.debug('no HELLO in time')
    this.close(CLOSE.policy, 'no HELLO in time')
  }

  #drop(reason: string): void {
    this.#log.warn({ reason }, 'dropped a dead connection')
    this.terminate()
  }

  /** Lets go of everything but the socket. */
  #end(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#helloTimer.cancel()
    this.#heartbeat.stop()
    this.subscriptions.closeAll()
    this.fetches.closeAll()
    this.groups.closeAll()
    this.#rotation.close()
    this.#source?.close()
    this.inFlight.close()
    this.#outbox.close()
    this.inlet.stop()
  }
}

const MESSAGE_CHARS_MAX = 4096
