import { connect, defineTopic, text } from '../../../client/index.js'

export interface SdkConsumeRequest {
  readonly url: string
  /** By `read`, by `readBatches`, or as a member of a new consumer group that acknowledges each record. */
  readonly how: 'records' | 'batches' | 'group'
  /** What stands in the topic `bench`. */
  readonly records: number
}

const Records = defineTopic({ name: 'bench', key: text(), value: text() })

/** Reads all records from the first; the time counts from the call on, so subscribing is in it. */
export async function sdkConsume(request: SdkConsumeRequest): Promise<{ recordsPerSecond: number }> {
  const client = connect(request.url)
  // The connection itself is not what is measured.
  await client.describeTopic(Records)
  const startedMs = performance.now()
  const counted = await COUNT[request.how](client, request.records)
  const seconds = (performance.now() - startedMs) / 1000
  await client.close()
  if (counted < request.records) throw new Error(`read ${counted} of ${request.records} records`)
  return { recordsPerSecond: counted / seconds }
}

type Count = (client: ReturnType<typeof connect>, records: number) => Promise<number>
const COUNT: Readonly<Record<SdkConsumeRequest['how'], Count>> = {
  async records(client) {
    let counted = 0
    for await (const record of client.read(Records, { from: 'earliest', to: 'end' })) {
      if (record.value.length > 0) counted++
    }
    return counted
  },
  async batches(client) {
    let counted = 0
    for await (const { records } of client.readBatches(Records, { from: 'earliest', to: 'end' })) {
      for (const record of records) if (record.value.length > 0) counted++
    }
    return counted
  },
  async group(client, records) {
    let counted = 0
    for await (const record of client.consume(Records, {
      group: `bench-${process.pid}`,
      ifNoCursor: 'earliest',
    })) {
      record.ack()
      if (++counted === records) break
    }
    return counted
  },
}
