import { connect, defineTopic, text } from '../../../client/index.js'
import { percentiles } from '../series.js'

export interface LoneSendsRequest {
  readonly url: string
  readonly recordBytes: number
  readonly count: number
}

const Records = defineTopic({ name: 'bench-lone-sends', key: text(), value: text() })
const WARMUP_SENDS = 200

/** Sends through the client with its default settings, each awaited before the next. */
export async function loneSends(request: LoneSendsRequest): Promise<{ p50Ms: number; p99Ms: number }> {
  const client = connect(request.url)
  await client.ensureTopic(Records, { partitions: 1 })
  const producer = client.producer(Records)
  const value = 'x'.repeat(request.recordBytes)
  for (let i = 0; i < WARMUP_SENDS; i++) await producer.send({ value })
  const latencies: number[] = []
  for (let i = 0; i < request.count; i++) {
    const sentMs = performance.now()
    await producer.send({ value })
    latencies.push(performance.now() - sentMs)
  }
  await client.close()
  return percentiles(latencies)
}
