import { subscribe, subscribed } from '../../../protocol/messages/index.js'
import { RawConnection } from '../raw-connection.js'
import { fill } from './fill.js'

export interface StoppedReaderRequest {
  readonly url: string
  readonly bytes: number
}

const KIB = 1024

/** Writes while a subscriber with all the credit there is has stopped reading its socket. */
export async function stoppedReader({ url, bytes }: StoppedReaderRequest): Promise<void> {
  const writing = { url, batchBytes: 256 * KIB, recordBytes: 1_000 }
  await fill({ ...writing, batches: 4 })
  const reader = await RawConnection.open(url)
  await reader.hello()
  const topicId = await reader.createTopic('bench')
  const asked = subscribe.write({
    correlationId: 3,
    subscriptionId: 1,
    topicId,
    partition: 0,
    offset: 0,
    creditBytes: 256 * KIB * KIB,
  })
  subscribed.read(await reader.ask(asked))
  reader.socket.pause()
  await fill({ ...writing, batches: Math.ceil(bytes / writing.batchBytes) })
  if (reader.socket.readyState !== reader.socket.OPEN) throw new Error('the stopped reader was disconnected')
  reader.socket.terminate()
}
