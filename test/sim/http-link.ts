import type { ConnectingReceiver, SimulatedNetwork } from './network.js'
import type { Pipe } from './pipe.js'
import type { Owner, Scheduler } from './scheduler.js'

export interface HttpAnswer {
  readonly status: number
  /** Parsed; undefined when there is none. */
  readonly body: unknown
}

/** Asks a broker over HTTP. Rejects with CONNECTION_LOST when the answer does not come whole. */
export type AskHttp = (
  method: string,
  path: string,
  asked?: { readonly body?: unknown; readonly idempotencyKey?: string | undefined },
) => Promise<HttpAnswer>

interface Waiting {
  readonly resolve: (answer: HttpAnswer) => void
  readonly reject: (error: unknown) => void
}

/** Longer than anybody asks to wait. */
const PATIENCE_MS = 3_000

const NOTHING = Buffer.alloc(0)
const HEAD_END = Buffer.from('\r\n\r\n')

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

  readonly ask: AskHttp = (method, path, { body, idempotencyKey } = {}) => {
    const bytes = body === undefined ? NOTHING : Buffer.from(JSON.stringify(body))
    const head = [
      `${method} ${path} HTTP/1.1`,
      'host: 127.0.0.1',
      ...(body === undefined ? [] : ['content-type: application/json', `content-length: ${bytes.length}`]),
      ...(idempotencyKey === undefined ? [] : [`idempotency-key: ${idempotencyKey}`]),
    ]
    if (this.#connection?.isOver !== false) {
      this.#connection = new HttpConnection()
      this.#network.openHttp(this.#owner, this.#connection)
    }
    const connection = this.#connection
    const timer = this.#scheduler.after(PATIENCE_MS, () => connection.close(), {
      kind: 'patience',
      owner: this.#owner,
    })
    const answer = connection.ask(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), bytes]))
    return answer.then(
      ({ status, body }) => {
        timer.isCancelled = true
        if (status >= 400) this.#onComplaint((body as { error: { code: string } }).error.code)
        return { status, body }
      },
      (error: unknown) => {
        timer.isCancelled = true
        throw error
      },
    )
  }

  /** Nobody waits for an answer any more. */
  close(): void {
    this.#connection?.close()
  }
}

class HttpConnection implements ConnectingReceiver {
  #out: Pipe | undefined
  #unsent: Buffer | undefined
  #waiting: Waiting | undefined
  #bytes: Buffer = NOTHING
  isOver = false

  ask(request: Buffer): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      if (this.#out === undefined) this.#unsent = request
      else this.#out.send(request)
    })
  }

  connected(out: Pipe): void {
    this.#out = out
    if (this.#unsent !== undefined) out.send(this.#unsent)
    this.#unsent = undefined
  }

  received(bytes: Buffer): void {
    if (this.isOver) return
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    const headEnd = this.#bytes.indexOf(HEAD_END)
    if (headEnd < 0) return
    const head = this.#bytes.toString('latin1', 0, headEnd)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    const end = headEnd + HEAD_END.length + length
    if (this.#bytes.length < end) return
    if (this.#bytes.length > end) throw new Error('the broker answers what it was not asked')
    const text = this.#bytes.toString('utf8', headEnd + HEAD_END.length)
    this.#bytes = NOTHING
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting === undefined) throw new Error('the broker answers nobody')
    if (/\r\nconnection: close/i.test(head)) this.close()
    waiting.resolve({
      status: Number(head.slice(9, 12)),
      body: text === '' ? undefined : JSON.parse(text),
    })
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
