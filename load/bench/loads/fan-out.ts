import { once } from 'node:events'
import { WebSocket } from 'ws'
import { crc32 } from '#crc32'
import { ENTRY_HEADER_BYTES } from '../../../protocol/entry.js'
import { packFrame } from '../../../protocol/frame.js'
import type { TopicId } from '../../../protocol/ids.js'
import { credit, deliver, produced, subscribe, subscribed } from '../../../protocol/messages/index.js'
import { correlationIdOf, type ProduceFrames } from '../produce-frames.js'
import { RawConnection } from '../raw-connection.js'
import { framesFor } from './frames.js'
import type { Stage } from './stage.js'

export interface FanOutRequest {
  readonly url: string
  readonly isBroker: boolean
  readonly consumers: number
  readonly batchBytes: number
  readonly warmupMs: number
  readonly ms: number
}

const MIB = 1024 * 1024
const CREDIT_BYTES = 256 * MIB
const CREDIT_STEP_BYTES = 32 * MIB
/** Batches that the producer is ahead of the consumers: they stay at the tail. */
const AHEAD_BATCHES = 16
/** Batches whose bytes are summed before anything is measured. */
const SUMMED_BATCHES = 32

/** Bytes that arrive at many consumers; from a floor as fast as they come. Stages: `warm`, then `over`. */
export async function fanOut(request: FanOutRequest, stage: Stage) {
  let bytes = 0
  let messages = 0
  const took = (length: number): void => {
    bytes += length
    messages++
  }
  const { differing, close } = await (request.isBroker ? tail : drink)(request, took)
  await new Promise((resolve) => setTimeout(resolve, request.warmupMs))
  await stage('warm')
  const [before, messagesBefore, startedMs] = [bytes, messages, performance.now()]
  await new Promise((resolve) => setTimeout(resolve, request.ms))
  const measured = bytes - before
  const messageBytes = measured / Math.max(1, messages - messagesBefore)
  const seconds = (performance.now() - startedMs) / 1000
  await stage('over')
  close()
  return {
    bytes: measured,
    megabytesPerSecond: measured / 1e6 / seconds,
    messageBytes,
    differing,
  }
}

type Took = (bytes: number) => void
interface Flow {
  /** Consumers that got other bytes than the first one. */
  readonly differing: number
  close(): void
}

async function drink({ url, consumers }: FanOutRequest, took: Took): Promise<Flow> {
  const sockets = Array.from({ length: consumers }, () => new WebSocket(url, { perMessageDeflate: false }))
  await Promise.all(sockets.map((socket) => once(socket, 'open')))
  for (const socket of sockets) {
    socket.on('message', (data: Buffer) => took(data.length))
    socket.send('go')
  }
  return { differing: 0, close: () => sockets.forEach((socket) => void socket.terminate()) }
}

async function tail(request: FanOutRequest, took: Took): Promise<Flow> {
  const { url, batchBytes } = request
  const made = await framesFor({ url, isBroker: true, batchBytes, recordBytes: 1_000 }, 'bench-fan-out')
  const { connection, frames, topicId } = made
  const entryBytes = ENTRY_HEADER_BYTES + frames.batchBytes
  const consumers: Consumer[] = []
  for (let i = 0; i < request.consumers; i++) consumers.push(await Consumer.open(url, topicId))
  const pump = new Pump(connection, frames)

  for (let i = 0; i < SUMMED_BATCHES; i++) pump.send()
  const sums = await Promise.all(consumers.map((consumer) => consumer.sumOf(SUMMED_BATCHES * entryBytes)))
  const differing = sums.filter((sum) => sum !== sums[0]).length

  let taken = 0
  const goOn = (): void => {
    while (
      (pump.sent - SUMMED_BATCHES) * entryBytes * consumers.length <
      taken + AHEAD_BATCHES * entryBytes * consumers.length
    ) {
      pump.send()
    }
  }
  for (const consumer of consumers) {
    consumer.drink((length) => {
      took(length)
      taken += length
      goOn()
    })
  }
  goOn()
  return { differing, close: () => consumers.forEach((consumer) => void consumer.socket.terminate()) }
}

/** Sends batch after batch. */
class Pump {
  sent = 0
  readonly #connection: RawConnection
  readonly #frames: ProduceFrames

  constructor(connection: RawConnection, frames: ProduceFrames) {
    this.#connection = connection
    this.#frames = frames
    connection.onFrame((frame) => {
      if (frame[0] !== produced.opcode) throw new Error(`not PRODUCED: ${JSON.stringify(frame)}`)
    })
  }

  send(): void {
    this.#connection.send(this.#frames.next(correlationIdOf(this.sent++)))
  }
}

/** One subscription from the start of an empty partition. */
class Consumer {
  readonly socket: WebSocket
  readonly #connection: RawConnection
  #uncredited = 0

  private constructor(connection: RawConnection) {
    this.#connection = connection
    this.socket = connection.socket
  }

  static async open(url: string, topicId: TopicId): Promise<Consumer> {
    const connection = await RawConnection.open(url)
    await connection.hello()
    const asked = { correlationId: 3, subscriptionId: 1, topicId, partition: 0, offset: 0 }
    subscribed.read(await connection.ask(subscribe.write({ ...asked, creditBytes: CREDIT_BYTES })))
    return new Consumer(connection)
  }

  /** The CRC of the next entries, which are `bytes` long together. */
  sumOf(bytes: number): Promise<number> {
    let [sum, left] = [0, bytes]
    return new Promise((resolve, reject) => {
      this.#connection.onFrame((frame) => {
        const { entries } = deliver.read(frame)
        sum = crc32(entries, sum)
        left -= entries.length
        if (left === 0) resolve(sum)
        else if (left < 0) reject(new Error('entries are longer than they were made'))
      })
    })
  }

  /** From now on messages are counted and not looked at. */
  drink(took: Took): void {
    this.socket.removeAllListeners('message')
    this.socket.on('message', (data: Buffer) => {
      took(data.length)
      this.#uncredited += data.length
      if (this.#uncredited < CREDIT_STEP_BYTES) return
      this.socket.send(packFrame(credit.write({ subscriptionId: 1, bytes: this.#uncredited })))
      this.#uncredited = 0
    })
  }
}
