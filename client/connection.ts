import { MillraceError } from '../protocol/error-codes.js'
import { Backoff } from './backoff.js'
import type { Timer } from './clock.js'
import { Ending } from './deadline.js'
import type { EventListeners } from './events.js'
import { Link } from './link.js'
import type { Settings, Token, TokenSource } from './options.js'

/** Who has to do something when the connection comes and goes: producers and readers. */
export interface LinkWatcher {
  linkUp(link: Link): void
  linkDown(error: MillraceError): void
  /** The broker refuses this client for good. */
  refused(error: MillraceError): void
}

export interface ConnectionOptions {
  readonly url: string
  readonly clientName: string
  readonly token: TokenSource | undefined
  readonly settings: Settings
  readonly events: EventListeners
}

interface Waiter {
  ready(link: Link): void
  failed(error: MillraceError): void
}

/** A connection that held so long was no failed attempt: the next pause is short again. */
const STABLE_MS = 5_000
/** How long the broker may take to say goodbye too. */
const GOODBYE_MS = 2_000

/**
 * One link after the other: the first when somebody needs it, the next whenever one is lost, until close(). What is
 * refused for good (version, credential) ends the attempts; the next call begins anew.
 */
export class Connection {
  readonly settings: Settings
  /** Over when the connection is closed for good. */
  readonly closing = new Ending()
  readonly #options: ConnectionOptions
  readonly #backoff: Backoff
  readonly #watchers = new Set<LinkWatcher>()
  readonly #waiters = new Set<Waiter>()
  #state: 'idle' | 'connecting' | 'ready' | 'pausing' | 'closed' = 'idle'
  #link: Link | undefined
  #timer: Timer | undefined
  #readyAtMs = 0
  #connections = 0
  #subscriptionId = 0
  #lastError: MillraceError | undefined
  #whenClosed: (() => void) | undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.settings = options.settings
    const { random, backoffBaseMs, backoffCapMs } = options.settings
    this.#backoff = new Backoff({ random, baseMs: backoffBaseMs, capMs: backoffCapMs })
  }

  /** The link, while requests may be sent on it. */
  get link(): Link | undefined {
    return this.#link?.isUsable ? this.#link : undefined
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** Throws CLOSED. */
  assertOpen(): void {
    if (this.#state === 'closed') throw closedError()
  }

  /** Why the last attempt or link failed. */
  get lastError(): MillraceError | undefined {
    return this.#lastError
  }

  /** Never used twice, so that a late delivery finds nobody. */
  newSubscriptionId(): number {
    this.#subscriptionId = (this.#subscriptionId % 0xffffffff) + 1
    return this.#subscriptionId
  }

  /** Tells the watcher of every link from now on, beginning with the present one, and sees to it that there is one. */
  watch(watcher: LinkWatcher): void {
    this.#watchers.add(watcher)
    if (this.link !== undefined) watcher.linkUp(this.link)
    else this.connect()
  }

  unwatch(watcher: LinkWatcher): void {
    this.#watchers.delete(watcher)
  }

  /** Begins to connect, unless that is under way. */
  connect(): void {
    if (this.#state === 'idle') void this.#open()
  }

  /** Calls back once with a usable link, or with why there will be none; returns how to stop waiting. */
  whenReady(waiter: Waiter): () => void {
    if (this.#state === 'closed') {
      waiter.failed(closedError())
      return () => {}
    }
    if (this.link !== undefined) {
      waiter.ready(this.link)
      return () => {}
    }
    this.#waiters.add(waiter)
    this.connect()
    return () => void this.#waiters.delete(waiter)
  }

  /** Ends everything; resolves when the socket is gone. */
  close(): Promise<void> {
    if (this.#state === 'closed') return Promise.resolve()
    this.#state = 'closed'
    this.closing.end()
    this.#timer?.cancel()
    this.#failWaiters(closedError())
    const link = this.#link
    if (link === undefined) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenClosed = resolve
      this.#timer = this.settings.clock.setTimer(() => link.fail(closedError()), GOODBYE_MS)
      link.close(closedError())
    })
  }

  async #open(): Promise<void> {
    this.#state = 'connecting'
    const { url, clientName, token, settings } = this.#options
    try {
      const credential = await credentialFrom(token)
      if (this.#isClosed()) return
      this.#link = new Link(
        { ...settings, url, clientName, credential },
        {
          onReady: (link) => this.#ready(link),
          onGoingAway: () => {},
          onClose: (error) => this.#lost(error),
        },
      )
    } catch (cause) {
      if (!this.#isClosed()) this.#retryOrGiveUp(asMillraceError(cause))
    }
  }

  /** A method, because the state changes during an await, which the compiler does not see. */
  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #ready(link: Link): void {
    if (this.#state === 'closed') return
    this.#state = 'ready'
    this.#readyAtMs = this.settings.clock.monotonic()
    this.#connections++
    const { brokerName, clusterId } = link.welcome
    this.#options.events.emit('connected', { brokerName, clusterId, connections: this.#connections })
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const watcher of [...this.#watchers]) watcher.linkUp(link)
    for (const waiter of waiters) waiter.ready(link)
  }

  #lost(error: MillraceError): void {
    const wasReady = this.#state === 'ready'
    this.#link = undefined
    if (this.#state === 'closed') {
      this.#timer?.cancel()
      this.#whenClosed?.()
      return
    }
    if (wasReady) {
      if (this.settings.clock.monotonic() - this.#readyAtMs >= STABLE_MS) this.#backoff.reset()
      for (const watcher of [...this.#watchers]) watcher.linkDown(error)
      this.#options.events.emit('disconnected', { error })
    }
    this.#retryOrGiveUp(error)
  }

  #retryOrGiveUp(error: MillraceError): void {
    this.#lastError = error
    // A listener may have closed the client.
    if (this.#isClosed()) return
    if (error.retriable) this.#pause(error)
    else this.#giveUp(error)
  }

  #pause(error: MillraceError): void {
    this.#state = 'pausing'
    const delayMs = Math.max(this.#backoff.nextDelayMs(), error.retryAfterMs ?? 0)
    this.#timer = this.settings.clock.setTimer(() => void this.#open(), delayMs)
    this.#options.events.emit('reconnecting', { attempt: this.#backoff.attempts, delayMs, error })
  }

  #giveUp(error: MillraceError): void {
    this.#state = 'idle'
    this.#failWaiters(error)
    for (const watcher of [...this.#watchers]) watcher.refused(error)
    this.#options.events.emit('refused', { error })
  }

  #failWaiters(error: MillraceError): void {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const waiter of waiters) waiter.failed(error)
  }
}

export const closedError = (): MillraceError =>
  new MillraceError('CLOSED', { message: 'the client is closed' })

async function credentialFrom(source: TokenSource | undefined): Promise<Uint8Array | null> {
  if (source === undefined) return null
  let token: Token
  try {
    token = typeof source === 'function' ? await source() : source
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause
    throw new MillraceError('UNAUTHENTICATED', {
      message: `the token could not be got: ${cause instanceof Error ? cause.message : String(cause)}`,
      retriable: true,
      cause,
    })
  }
  return typeof token === 'string' ? new TextEncoder().encode(token) : token
}

function asMillraceError(cause: unknown): MillraceError {
  if (cause instanceof MillraceError) return cause
  const message = cause instanceof Error ? cause.message : String(cause)
  return new MillraceError('CONNECTION_LOST', { message: `no connection can be made: ${message}`, cause })
}
