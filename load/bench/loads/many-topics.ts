import { error, produce, produced } from '../../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../../protocol/records.js'
import { plainBatch } from '../plain-batch.js'
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
  const batch = { partition: 0, ...plainBatch(builder) }
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
