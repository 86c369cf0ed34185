import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '../../client/client.js'
import { connect } from '../../client/connect.js'
import { Connection } from '../../client/connection.js'
import { EventListeners } from '../../client/events.js'
import { settingsOf } from '../../client/options.js'
import type { Socket } from '../../client/platform/socket.js'
import { openSocket } from '../../client/platform/socket-node.js'
import { socketUrl } from '../../client/url.js'
import type { HistoryRecorder } from '../checker/recorder.js'
import type { ClientProcess } from '../sim/client-process.js'
import { WireTap } from '../sim/wire-tap.js'
import type { SeededRandom } from '../support/seeded-random.js'

const OPTIONS = { backoffBaseMs: 20, backoffCapMs: 300, requestTimeoutMs: 60_000 }

/** A program of the simulation with a real client, real sockets and real time; it lives until it is told to end. */
export class RealProcess {
  readonly name: string
  readonly owner: ClientProcess['owner']
  readonly isMortal = false
  readonly client: Client
  readonly random: SeededRandom
  readonly tap: WireTap
  readonly over: Promise<void>
  readonly #ending = new AbortController()
  readonly #onFailed: (error: Error) => void
  readonly #url: string
  #programs = 0
  #setOver: () => void = () => {}

  constructor(options: {
    readonly name: string
    readonly url: string
    readonly random: SeededRandom
    readonly history: HistoryRecorder
    /** What a program throws is a finding. */
    readonly onFailed: (error: Error) => void
  }) {
    const { name, url } = options
    this.name = name
    this.owner = { name, isDead: false, stalledUntilMs: 0 }
    this.random = options.random
    this.tap = new WireTap(options.history)
    this.#onFailed = options.onFailed
    // Of each call that the end cuts short there is one.
    setMaxListeners(0, this.#ending.signal)
    this.over = new Promise((resolve) => {
      this.#setOver = resolve
    })
    this.#url = url
    this.client = connect(url, { ...OPTIONS, clientName: name }, { openSocket: tappedBy(this.tap) })
  }

  connection(): Connection {
    return new Connection({
      url: socketUrl(this.#url),
      clientName: this.name,
      token: undefined,
      settings: settingsOf(OPTIONS, { openSocket: tappedBy(this.tap) }),
      events: new EventListeners(),
    })
  }

  /** It was asked to come to its end. */
  get isEnding(): boolean {
    return this.#ending.signal.aborted
  }

  get ending(): AbortSignal {
    return this.#ending.signal
  }

  run(program: () => Promise<void>): void {
    this.#programs++
    void program()
      .catch((error: unknown) =>
        this.#onFailed(new Error(`${this.name} failed: ${String(error)}`, { cause: error })),
      )
      .then(async () => {
        if (--this.#programs > 0) return
        await this.client.close().catch(() => {})
        this.#setOver()
      })
  }

  end(): void {
    this.#ending.abort(new Error('the run ends'))
  }

  async sleep(ms: number): Promise<void> {
    await sleep(ms)
  }

  onDeath(): void {}

  kill(): never {
    throw new Error('only brokers die here')
  }
}

/** What a program of the simulation takes it for: all that is public is the same, which the compiler checks here. */
export const asClientProcess = (process: Pick<ClientProcess, keyof ClientProcess>): ClientProcess =>
  process as ClientProcess

function tappedBy(tap: WireTap): typeof openSocket {
  return (options, listener): Socket => {
    const socket = openSocket(options, {
      onOpen: () => listener.onOpen(),
      onMessage(message) {
        tap.received(message)
        listener.onMessage(message)
      },
      onClose: (closing) => listener.onClose(closing),
    })
    return {
      send(message) {
        tap.sent(message)
        socket.send(message)
      },
      close: (code, reason) => socket.close(code, reason),
      terminate: () => socket.terminate(),
    }
  }
}
