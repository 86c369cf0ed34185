import { correlationIdOf, ProduceFrames } from '../../load/bench/produce-frames.js'
import { RawConnection } from '../../load/bench/raw-connection.js'
import type { TopicId } from '../../protocol/ids.js'

/** Writes `bytes` of records into a topic over one connection, without the SDK. Returns the topic's id. */
export async function writeBytes(options: {
  url: string
  topic: string
  bytes: number
  batchBytes: number
  onProgress?: (written: number) => void
}): Promise<TopicId> {
  const connection = await RawConnection.open(options.url)
  try {
    await connection.hello()
    const topicId = await connection.createTopic(options.topic)
    const frames = new ProduceFrames({ topicId, batchBytes: options.batchBytes, recordBytes: 1_000 })
    const wanted = Math.ceil(options.bytes / frames.batchBytes)
    let sent = 0
    await connection.saturate({
      inFlight: Math.min(8, wanted),
      frame: (index) => {
        sent = index + 1
        options.onProgress?.(sent * frames.batchBytes)
        return frames.next(correlationIdOf(index))
      },
      warmupMs: 0,
      isOver: () => sent >= wanted,
    })
    return topicId
  } finally {
    connection.close()
  }
}
