import { connect, defineTopic, text } from '../../../client/index.js'

export interface SdkProduceRequest {
  readonly url: string
  /** A promise for each record, or `sendBatch` of a thousand. */
  readonly how: 'each' | 'batches'
  readonly recordBytes: number
  readonly partitions: number
  readonly warmupMs: number
  readonly ms: number
}

const Records = defineTopic({ name: 'bench-sdk', key: text(), value: text() })
/** Programs that send at a time, each a thousand records and then waiting for all of them. */
const SENDERS = 16

/** Records without a key through the client with its default settings: of several partitions, each batch goes to the next. */
export async function sdkProduce(request: SdkProduceRequest): Promise<{ recordsPerSecond: number }> {
  const { url, how, recordBytes, partitions, warmupMs, ms } = request
  const client = connect(url)
  await client.ensureTopic(Records, { partitions })
  const producer = client.producer(Records)
  const value = 'x'.repeat(recordBytes)
  const batch = Array.from({ length: 1_000 }, () => ({ value }))
  let acknowledged = 0
  const run = async (untilMs: number): Promise<void> => {
    while (performance.now() < untilMs) {
      if (how === 'each') await Promise.all(batch.map((record) => producer.send(record)))
      else await producer.sendBatch(batch)
      acknowledged += batch.length
    }
  }
  const runAll = (untilMs: number): Promise<unknown> =>
    Promise.all(Array.from({ length: SENDERS }, () => run(untilMs)))
  await runAll(performance.now() + warmupMs)
  acknowledged = 0
  const startedMs = performance.now()
  await runAll(startedMs + ms)
  const seconds = (performance.now() - startedMs) / 1000
  await client.close()
  return { recordsPerSecond: acknowledged / seconds }
}
