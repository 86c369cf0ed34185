import { connect, defineTopic, text } from '../../../client/index.js'
import { percentiles } from '../series.js'

export interface LoneSendsRequest {
  readonly url: string
  readonly recordBytes: number
  readonly count: number
  /** Sends before those that count; at least as many as `count`. */
  readonly warmup: number
}

export interface LoneSendsAnswer {
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of the first `count` of all, while both processes still run most of their code for the first time. */
  readonly firstP50Ms: number
}

const Records = defineTopic({ name: 'bench-lone-sends', key: text(), value: text() })

/** Sends through the client with its default settings, each awaited before the next. */
export async function loneSends(request: LoneSendsRequest): Promise<LoneSendsAnswer> {
  const client = connect(request.url)
  await client.ensureTopic(Records, { partitions: 1 })
  const producer = client.producer(Records)
  const value = 'x'.repeat(request.recordBytes)
  const { count, warmup } = request
  const latencies: number[] = []
  for (let i = 0; i < warmup + count; i++) {
    const sentMs = performance.now()
    await producer.send({ value })
    latencies.push(performance.now() - sentMs)
  }
  await client.close()
  const { p50Ms: firstP50Ms } = percentiles(latencies.slice(0, count))
  return { ...percentiles(latencies.slice(warmup)), firstP50Ms }
}
