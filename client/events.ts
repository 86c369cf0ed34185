import type { MillraceError } from '../protocol/error-codes.js'

/** What happens to a client's connection and its readers, so that nothing restarts unseen. */
export interface ClientEvents {
  connected: {
    /** For example `millrace/0.1.0`. */
    readonly brokerName: string
    /** Names the broker's data: another one means other data behind the same URL. */
    readonly clusterId: string
    /** Connections made so far, this one included. */
    readonly connections: number
  }
  /** The connection is gone; calls under way wait for the next one. */
  disconnected: { readonly error: MillraceError }
  /** Another attempt follows after `delayMs`. */
  reconnecting: {
    /** Attempts since the last connection that held for a while. */
    readonly attempt: number
    readonly delayMs: number
    /** Why the last attempt or connection failed. */
    readonly error: MillraceError
  }
  /** The broker refuses this client for good (version, credential): what waits fails, the next call tries again. */
  refused: { readonly error: MillraceError }
  /** A reader with `history` could not read on over HTTP: what follows comes by the WebSocket. */
  historyFallback: {
    readonly topic: string
    readonly partition: number
    /** Where the WebSocket goes on. */
    readonly offset: number
    readonly error: MillraceError
  }
}

export type ClientEventName = keyof ClientEvents
/** An event with its name as `type`, as `onEvent` gets it. */
export type ClientEvent = {
  [Name in ClientEventName]: { readonly type: Name } & ClientEvents[Name]
}[ClientEventName]

type Listener = (event: never) => void
type AnyEvent<Events> = { [Name in keyof Events]: { readonly type: Name } & Events[Name] }[keyof Events]

/** Tells listeners. One that throws is reported as an uncaught error and disturbs nobody else. */
export class EventListeners<Events = ClientEvents> {
  readonly #byName = new Map<keyof Events, Set<Listener>>()
  readonly #onEvent: ((event: AnyEvent<Events>) => void) | undefined

  constructor(onEvent?: (event: AnyEvent<Events>) => void) {
    this.#onEvent = onEvent
  }

  /** Returns how to stop listening. */
  add<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const listeners = this.#byName.get(name) ?? new Set()
    this.#byName.set(name, listeners)
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    if (this.#onEvent !== undefined) tell(this.#onEvent, { type: name, ...event } as AnyEvent<Events>)
    for (const listener of this.#byName.get(name) ?? []) tell(listener, event as never)
  }
}

function tell<E>(listener: (event: E) => void, event: E): void {
  try {
    listener(event)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
