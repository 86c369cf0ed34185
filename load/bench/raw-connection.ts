import { WebSocket } from 'ws'
import { packFrame, unpackFrame } from '../../protocol/frame.js'
import { hexFromBytes, type RequestId, type TopicId } from '../../protocol/ids.js'
import { createTopic, error, hello, produced, topicCreated, welcome } from '../../protocol/messages/index.js'
import { PROTOCOL_VERSION, SUBPROTOCOL, WEBSOCKET_PATH } from '../../protocol/version.js'

/** A connection that speaks frames and nothing more: what a figure of the broker alone is measured with. */
export class RawConnection {
  readonly socket: WebSocket
  #onFrame: (frame: unknown[]) => void = () => {}

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer) => this.#onFrame(unpackFrame(data)))
  }

  static async open(url: string): Promise<RawConnection> {
    const socket = new WebSocket(url + WEBSOCKET_PATH, SUBPROTOCOL, { perMessageDeflate: false })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    return new RawConnection(socket)
  }

  onFrame(listener: (frame: unknown[]) => void): void {
    this.#onFrame = listener
  }

  send(bytes: Uint8Array): void {
    this.socket.send(bytes)
  }

  /** Sends a frame and returns the next one that comes. */
  ask(frame: unknown[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      this.onFrame((answer) =>
        answer[0] === error.opcode ? reject(new Error(String(answer[3]))) : resolve(answer),
      )
      this.send(packFrame(frame))
    })
  }

  async hello(): Promise<void> {
    const answer = await this.ask(
      hello.write({
        correlationId: 1,
        minVersion: PROTOCOL_VERSION,
        maxVersion: PROTOCOL_VERSION,
        clientName: 'millrace-bench',
        credential: null,
        features: [],
      }),
    )
    welcome.read(answer)
  }

  async createTopic(name: string, partitions = 1): Promise<TopicId> {
    const requestId = hexFromBytes(crypto.getRandomValues(new Uint8Array(16))) as RequestId
    const answer = await this.ask(
      createTopic.write({
        correlationId: 2,
        requestId,
        name,
        partitions,
        keyEncoding: 'text',
        valueEncoding: 'text',
        ifMissing: true,
      }),
    )
    return topicCreated.read(answer).topicId
  }

  /** Keeps `inFlight` frames unanswered; counts what is acknowledged after the warm-up, for `seconds`. */
  async saturate(options: {
    inFlight: number
    frame: (index: number) => Uint8Array
    warmupMs: number
    /** Asked at every answer once the warm-up is over. */
    isOver: (elapsedMs: number) => boolean
  }): Promise<{ acknowledged: number; elapsedMs: number }> {
    let startedMs = performance.now() + options.warmupMs
    let sent = 0
    let answered = 0
    let before = 0
    let isWarm = options.warmupMs === 0
    let measured: { acknowledged: number; elapsedMs: number } | undefined
    return await new Promise((resolve, reject) => {
      const sendNext = (): void => this.send(options.frame(sent++))
      this.socket.once('close', () => reject(new Error('the connection closed')))
      this.onFrame((frame) => {
        if (frame[0] !== produced.opcode) {
          reject(new Error(`expected PRODUCED, got ${JSON.stringify(frame)}`))
          return
        }
        const acks = (frame[1] as unknown[]).length
        answered += acks
        const now = performance.now()
        if (!isWarm && now >= startedMs) {
          isWarm = true
          startedMs = now
          before = answered
        }
        if (isWarm && measured === undefined && options.isOver(now - startedMs)) {
          measured = { acknowledged: answered - before, elapsedMs: now - startedMs }
        }
        if (measured === undefined) for (let i = 0; i < acks; i++) sendNext()
        else if (answered === sent) resolve(measured)
      })
      for (let i = 0; i < options.inFlight; i++) sendNext()
    })
  }

  close(): void {
    this.socket.close()
  }
}
