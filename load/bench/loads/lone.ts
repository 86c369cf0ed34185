import { correlationIdOf } from '../produce-frames.js'
import { percentiles } from '../series.js'
import { framesFor } from './frames.js'

export interface LoneRequest {
  readonly url: string
  readonly recordBytes: number
  readonly warmupMs: number
  readonly ms: number
}

/** One small frame at a time, each awaited. */
export async function lone(request: LoneRequest): Promise<{ p50Ms: number; p99Ms: number }> {
  const { url, recordBytes, warmupMs, ms } = request
  const { connection, frames } = await framesFor(
    { url, isBroker: true, batchBytes: recordBytes, recordBytes },
    'bench-lone',
  )
  const latencies: number[] = []
  let sentMs = 0
  let sent = 0
  await new Promise<void>((resolve) => {
    const startedMs = performance.now()
    const sendNext = (): void => {
      sentMs = performance.now()
      connection.send(frames.next(correlationIdOf(sent++)))
    }
    connection.onFrame(() => {
      const now = performance.now()
      if (now - startedMs > warmupMs) latencies.push(now - sentMs)
      if (now - startedMs > warmupMs + ms) resolve()
      // Not at once: a user who sends now and then meets the stream at any point of its cycle.
      else setTimeout(sendNext, Math.random() * 4)
    })
    sendNext()
  })
  connection.close()
  return percentiles(latencies)
}
