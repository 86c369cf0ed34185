import { crc32 } from '#crc32'
import { error, produce, produced } from '../../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../../protocol/records.js'
import { RawConnection } from '../raw-connection.js'

export interface ManyTopicsRequest {
  readonly url: string
  readonly topics: number
}

const CONNECTIONS = 64

/** Makes topics and writes one record of 100 bytes into each. */
export async function manyTopics({ url, topics }: ManyTopicsRequest): Promise<void> {
  const builder = new RecordBatchBuilder({ initialBytes: 200 })
  builder.append({ key: null, value: 'x'.repeat(100), timestamp: 1_700_000_000_000 })
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const batch = {
    partition: 0,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    payload: payload.slice(),
  }
  let next = 0
  const work = async (): Promise<void> => {
    const connection = await RawConnection.open(url)
    await connection.hello()
    while (next < topics) {
      const topicId = await connection.createTopic(`bench-${next++}`)
      const answer = await connection.ask(produce.write({ correlationId: 3, topicId, ...batch }))
      if (answer[0] === error.opcode) throw new Error(String(answer[3]))
      produced.read(answer)
    }
    connection.close()
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, work))
}
