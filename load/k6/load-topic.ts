import type { TopicId } from '../../protocol/ids.js'
import { createTopic, topicCreated } from '../../protocol/messages/index.js'
import { randomId } from './ids.js'
import type { Session } from './session.js'

/** The topic of a run, as it is: one that was there before may have another number of partitions. */
export interface LoadTopic {
  readonly name: string
  readonly topicId: TopicId
  readonly partitions: number
}

/** Creates the topic if it is missing. Every connection does so: k6's VUs cannot tell each other. */
export function ensureTopic(
  session: Session,
  options: { name: string; partitions: number; maxBytes: number },
  ready: (topic: LoadTopic) => void,
): void {
  const nothing = { maxAgeMs: null, untilAcked: null, cursorIdleMs: null, maxLagBytes: null }
  const rest = { onLag: null, dedupWindowMs: null }
  const maxBytes = options.maxBytes === 0 ? null : options.maxBytes
  session.ask(
    (correlationId) =>
      createTopic.write({
        correlationId,
        requestId: randomId(),
        name: options.name,
        partitions: options.partitions,
        keyEncoding: 'text',
        valueEncoding: 'text',
        ifMissing: true,
        options: { ...nothing, ...rest, maxBytes },
      }),
    (frame) => {
      const { topicId, partitions } = topicCreated.read(frame)
      ready({ name: options.name, topicId, partitions })
    },
  )
}
