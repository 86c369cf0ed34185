import type { TopicSettings } from '../../../client/index.js'
import { defineTopic, text } from '../../../client/index.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'

/** A topic of a workload. Its name is its id in the history: no name is used twice in a run. */
export interface WorkTopic {
  readonly name: string
  readonly partitions: number
  readonly topic: ReturnType<typeof defineText>
  readonly settings: TopicSettings
  /** The broker deletes by age or size, whoever reads. */
  readonly expires: boolean
  /** The broker makes it, when there is something for it, and writes each record of another topic once at most. */
  readonly isBrokers: boolean
  /** Somebody is about to delete it, or has. */
  gone: 'no' | 'maybe' | 'surely'
}

const defineText = (name: string) => defineTopic({ name, key: text(), value: text() })

export function newTopic(
  lab: Lab,
  fields: {
    name: string
    partitions: number
    settings?: TopicSettings
    /** The broker itself may delete by age or size. */
    expires?: boolean
  },
): WorkTopic {
  const { name, partitions, settings = {}, expires = false } = fields
  lab.history.record({
    type: 'topic',
    topicId: name,
    name,
    partitions,
    ...(settings.retention?.untilAcked && { untilAcked: true }),
    ...(expires && { expires }),
  })
  return { name, partitions, settings, expires, topic: defineText(name), isBrokers: false, gone: 'no' }
}

/** A topic that the broker makes and writes by itself. */
export function brokersTopic(lab: Lab, name: string): WorkTopic {
  lab.history.record({ type: 'topic', topicId: name, name, partitions: 1, writtenByBroker: true })
  return {
    name,
    partitions: 1,
    settings: {},
    expires: false,
    topic: defineText(name),
    isBrokers: true,
    gone: 'no',
  }
}

/** The topic that holds a record which a group got: for a dead letter that is replayed, the group's own. */
export function heldIn(
  { origin }: { readonly origin?: object | undefined },
  { group, from }: { readonly group: string; readonly from: WorkTopic },
): string {
  return origin === undefined ? from.name : `${from.name}.${group}.retry`
}

/** Makes it unless it is there: whoever uses a topic does so first. Tries for as long as it takes. */
export async function ensureTopic(process: ClientProcess, topics: readonly WorkTopic[]): Promise<void> {
  for (const { topic, partitions, settings } of topics) {
    await persistently(process, () => process.client.ensureTopic(topic, { partitions, ...settings }))
  }
}

/** Repeats what fails for reasons that may pass. */
export async function persistently<T>(process: ClientProcess, call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (!isPassing(error)) throw error
      await process.sleep(50)
    }
  }
}

/** `STORAGE_FAILED`, `CORRUPT_DATA`: the disk is mended some time; `BrokerProcess` judges whether it was broken at all. */
const PASSING = new Set(['TIMEOUT', 'CONNECTION_LOST', 'STORAGE_FAILED', 'CORRUPT_DATA'])

/** What a client may be told in a world like this, and is no answer to the question. */
export function isPassing(error: unknown): boolean {
  const { code, retriable } = error as { code?: string; retriable?: boolean }
  return retriable === true || PASSING.has(code ?? '')
}
