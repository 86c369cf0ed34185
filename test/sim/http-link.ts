import { HttpResponse } from './http-response.js'
import type { ConnectingReceiver, SimulatedNetwork } from './network.js'
import type { Pipe } from './pipe.js'
import type { Owner, Scheduler } from './scheduler.js'

export interface HttpAnswer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly bytes: Buffer
  /** What the bytes say when they are JSON; undefined when they are not, or there are none. */
  readonly body: unknown
}

export interface HttpRequest {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly bytes?: Buffer | undefined
}

interface Waiting {
  readonly response: HttpResponse
  readonly body: Buffer[]
  readonly resolve: (answer: HttpAnswer) => void
  readonly reject: (error: unknown) => void
}

/** Longer than anybody asks to wait. */
const PATIENCE_MS = 3_000

const NOTHING = Buffer.alloc(0)

/** A process that speaks HTTP/1.1 by hand, one request at a time, over a connection that it makes anew when it is lost. */
export class HttpLink {
  readonly #network: SimulatedNetwork
  readonly #scheduler: Scheduler
  readonly #owner: Owner
  readonly #onComplaint: (code: string) => void
  #connection: HttpConnection | undefined

  constructor(of: {
    network: SimulatedNetwork
    scheduler: Scheduler
    owner: Owner
    onComplaint: (code: string) => void
  }) {
    this.#onComplaint = of.onComplaint
    this.#network = of.network
    this.#scheduler = of.scheduler
    this.#owner = of.owner
  }

  /** Rejects with CONNECTION_LOST when the answer does not come whole, or not soon. */
  async request(request: HttpRequest): Promise<HttpAnswer> {
    if (this.#connection?.isOver !== false) this.#connection = this.#connect()
    const connection = this.#connection
    const answer = await this.#patiently(connection, () => connection.ask(request))
    this.#hear(answer)
    return answer
  }

  /**
   * Asks over a connection of its own for an answer that may have no end. `onBytes` gets what comes of its body, and says whether
   * that was enough. Resolves when it was, or with the answer when that ends; rejects with CONNECTION_LOST, also when nothing
   * comes for long.
   */
  async follow(request: HttpRequest, onBytes: (bytes: Buffer) => boolean): Promise<HttpAnswer | undefined> {
    const connection = this.#connect()
    let isEnough = false
    const onBody = (bytes: Buffer): void => {
      isEnough ||= onBytes(bytes)
      if (isEnough) connection.close()
    }
    try {
      const answer = await this.#patiently(connection, () => connection.ask(request, onBody))
      this.#hear(answer)
      return answer
    } catch (error) {
      if (isEnough) return undefined
      throw error
    } finally {
      connection.close()
    }
  }

  #connect(): HttpConnection {
    const connection = new HttpConnection()
    this.#network.openHttp(this.#owner, connection)
    return connection
  }

  /** Gives the connection up when nothing has come through it for long. */
  async #patiently<T>(connection: HttpConnection, act: () => Promise<T>): Promise<T> {
    const wait = () =>
      this.#scheduler.after(PATIENCE_MS, () => connection.close(), { kind: 'patience', owner: this.#owner })
    let timer = wait()
    connection.onSign = () => {
      timer.isCancelled = true
      timer = wait()
    }
    try {
      return await act()
    } finally {
      connection.onSign = () => {}
      timer.isCancelled = true
    }
  }

  #hear({ status, body }: HttpAnswer): void {
    // An answer to HEAD cannot say more than its status.
    if (status < 400 || body === undefined) return
    this.complain((body as { error: { code: string } }).error.code)
  }

  /** The broker has said, in whatever way, that something is wrong. */
  complain(code: string): void {
    this.#onComplaint(code)
  }

  /** Nobody waits for an answer any more. */
  close(): void {
    this.#connection?.close()
  }
}

class HttpConnection implements ConnectingReceiver {
  /** Called when bytes have come. */
  onSign: () => void = () => {}
  #out: Pipe | undefined
  #unsent: Buffer | undefined
  #waiting: Waiting | undefined
  isOver = false

  /** `onBody` gets a body as it comes, unless it is one that says what is wrong. */
  ask(request: HttpRequest, onBody?: (bytes: Buffer) => void): Promise<HttpAnswer> {
    const bytes = bytesOf(request)
    return new Promise((resolve, reject) => {
      const body: Buffer[] = []
      const response = new HttpResponse({
        isHead: request.method === 'HEAD',
        onBody: (bytes) => {
          if (onBody === undefined || (response.head?.status ?? 0) >= 400) body.push(bytes)
          else onBody(bytes)
        },
      })
      this.#waiting = { response, body, resolve, reject }
      if (this.#out === undefined) this.#unsent = bytes
      else this.#out.send(bytes)
    })
  }

  connected(out: Pipe): void {
    // Given up before it came about.
    if (this.isOver) out.end()
    this.#out = out
    if (this.#unsent !== undefined) out.send(this.#unsent)
    this.#unsent = undefined
  }

  received(bytes: Buffer): void {
    if (this.isOver) return
    this.onSign()
    const waiting = this.#waiting
    if (waiting === undefined) throw new Error('the broker answers nobody')
    const { response, body, resolve } = waiting
    response.take(bytes)
    // Whoever got a part of it may have had enough.
    if (!response.isWhole || response.head === undefined || this.isOver) return
    this.#waiting = undefined
    const { status, headers } = response.head
    if (headers.get('connection') === 'close') this.close()
    const whole = Buffer.concat(body)
    const isJson = headers.get('content-type')?.startsWith('application/json') === true && whole.length > 0
    resolve({ status, headers, bytes: whole, body: isJson ? JSON.parse(whole.toString()) : undefined })
  }

  ended(): void {
    this.close()
  }

  reset(): void {
    this.#lose()
  }

  close(): void {
    this.#out?.end()
    this.#lose()
  }

  #lose(): void {
    this.isOver = true
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.reject(
      Object.assign(new Error('the connection is lost'), {
        code: 'CONNECTION_LOST',
        // What never left is not done.
        outcome: this.#out === undefined ? 'notWritten' : 'unknown',
      }),
    )
  }
}

function bytesOf({ method, path, headers = {}, bytes }: HttpRequest): Buffer {
  const head = [`${method} ${path} HTTP/1.1`, 'host: 127.0.0.1']
  for (const [name, value] of Object.entries(headers)) head.push(`${name}: ${value}`)
  if (bytes !== undefined) head.push(`content-length: ${bytes.length}`)
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), bytes ?? NOTHING])
}
