import { produced } from '../../../protocol/messages/index.js'
import { correlationIdOf } from '../produce-frames.js'
import { framesFor } from './frames.js'

export interface FillRequest {
  readonly url: string
  readonly batchBytes: number
  readonly recordBytes: number
  /** At least so many records in all. */
  readonly records?: number
  /** Or so many batches in all. */
  readonly batches?: number
  /** Default `bench`. */
  readonly topic?: string
  readonly partitions?: number
}

const IN_FLIGHT = 8

/** Writes a given amount; the topic's keys and values are text. */
export async function fill(request: FillRequest): Promise<{ records: number; bytes: number }> {
  const { connection, frames } = await framesFor({ ...request, isBroker: true }, request.topic ?? 'bench')
  const count = request.batches ?? Math.ceil((request.records ?? 0) / frames.recordsPerBatch)
  await new Promise<void>((resolve, reject) => {
    let sent = 0
    let answered = 0
    const sendNext = (): void => {
      if (sent < count) connection.send(frames.next(correlationIdOf(sent++)))
    }
    connection.socket.once('close', () => reject(new Error('the connection closed')))
    connection.onFrame((frame) => {
      if (frame[0] !== produced.opcode) return reject(new Error(`not PRODUCED: ${JSON.stringify(frame)}`))
      for (const _ of frame[1] as unknown[]) {
        answered++
        sendNext()
      }
      if (answered === count) resolve()
    })
    for (let i = 0; i < IN_FLIGHT; i++) sendNext()
  })
  connection.close()
  return { records: count * frames.recordsPerBatch, bytes: count * frames.batchBytes }
}
