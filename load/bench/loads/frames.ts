import type { TopicId } from '../../../protocol/ids.js'
import { correlationIdOf, ProduceFrames } from '../produce-frames.js'
import { RawConnection } from '../raw-connection.js'
import type { Stage } from './stage.js'

export interface FramesRequest {
  readonly url: string
  /** Whether the server speaks the whole protocol (the floor only acknowledges). */
  readonly isBroker: boolean
  readonly batchBytes: number
  readonly recordBytes: number
  readonly inFlight: number
  readonly warmupMs: number
  readonly ms: number
  /** Taken in turn; default 1. */
  readonly partitions?: number
}

/** A connection and the frames for a topic of its own. */
export async function framesFor(
  request: Pick<FramesRequest, 'url' | 'isBroker' | 'batchBytes' | 'recordBytes' | 'partitions'>,
  topic: string,
): Promise<{ connection: RawConnection; frames: ProduceFrames; topicId: TopicId }> {
  const { url, isBroker, batchBytes, recordBytes, partitions = 1 } = request
  const connection = await RawConnection.open(url)
  let topicId = '0'.repeat(32) as TopicId
  if (isBroker) {
    await connection.hello()
    topicId = await connection.createTopic(topic, partitions)
  }
  const variants = Math.max(16, partitions)
  return {
    connection,
    topicId,
    frames: new ProduceFrames({ topicId, batchBytes, recordBytes, partitions, variants }),
  }
}

/** As many frames as the server takes. Stages: `warm`, then `over`. */
export async function frames(request: FramesRequest, stage: Stage) {
  const { connection, frames: made } = await framesFor(request, 'bench-frames')
  let warm: Promise<void> | undefined
  const { acknowledged, elapsedMs } = await connection.saturate({
    inFlight: request.inFlight,
    frame: (index) => made.next(correlationIdOf(index)),
    warmupMs: request.warmupMs,
    isOver: (ms) => {
      warm ??= stage('warm')
      return ms >= request.ms
    },
  })
  await warm
  await stage('over')
  connection.close()
  const bytes = acknowledged * made.batchBytes
  const seconds = elapsedMs / 1000
  return {
    bytes,
    megabytesPerSecond: bytes / 1e6 / seconds,
    recordsPerSecond: (acknowledged * made.recordsPerBatch) / seconds,
  }
}
