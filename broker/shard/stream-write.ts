import type { TopicId } from '../../protocol/ids.js'
import type { ProducerTuple } from '../manifest/rows.js'

/** What a write to a stream says besides its records. */
export interface StreamWrite {
  readonly topicId: TopicId
  /** Nothing is added after it. */
  readonly closes: boolean
  /** It brings the records that the stream begins with. */
  readonly opens: boolean
  readonly producer: ProducerTuple | null
  readonly seq: string | null
}

export interface StreamWritten {
  /** It had been written before. */
  readonly isDuplicate: boolean
  /** Behind what was written; of a duplicate, the stream's end. */
  readonly nextOffset: number
  readonly isClosed: boolean
  /** The producer's last write. */
  readonly producer: ProducerTuple | null
}
