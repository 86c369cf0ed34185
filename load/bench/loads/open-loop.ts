import { connect, defineTopic, text } from '../../../client/index.js'
import { percentiles } from '../series.js'

export interface OpenLoopRequest {
  readonly url: string
  readonly recordBytes: number
  readonly recordsPerSecond: number
  readonly warmupMs: number
  readonly ms: number
}

const Records = defineTopic({ name: 'bench-open-loop', key: text(), value: text() })

/**
 * Sends by the clock, whatever the broker does, and reads at the end of the same topic. A record's latency counts from the
 * moment at which it ought to have been sent, so that a stall is charged to every record that it held up. Producer and reader
 * have a client each and share this process and its clock.
 */
export async function openLoop(request: OpenLoopRequest): Promise<{ p50Ms: number; p99Ms: number }> {
  const { url, recordBytes, recordsPerSecond, warmupMs, ms } = request
  const [sending, reading] = [connect(url), connect(url)]
  await sending.ensureTopic(Records, { partitions: 1 })
  const producer = sending.producer(Records)
  const stream = reading.read(Records, { from: 'latest' })
  await stream.ready
  const value = 'x'.repeat(recordBytes)
  const total = Math.round(((warmupMs + ms) / 1000) * recordsPerSecond)
  const firstMeasured = Math.round((warmupMs / 1000) * recordsPerSecond)
  const startedMs = performance.now() + 50
  const dueMs = (index: number): number => startedMs + (index * 1000) / recordsPerSecond

  let sent = 0
  const failed = new Promise<never>((_resolve, reject) => {
    const sendDue = (): void => {
      while (sent < total && dueMs(sent) <= performance.now()) {
        producer.send({ value }).catch(reject)
        sent++
      }
      if (sent < total) setTimeout(sendDue, 1)
    }
    sendDue()
  })
  const latencies: number[] = []
  const read = async (): Promise<void> => {
    let index = 0
    for await (const _ of stream) {
      if (index >= firstMeasured) latencies.push(performance.now() - dueMs(index))
      if (++index === total) return
    }
  }
  await Promise.race([read(), failed])
  await Promise.all([sending.close(), reading.close()])
  return percentiles(latencies)
}
