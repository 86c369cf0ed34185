import { MillraceError } from '../protocol/error-codes.js'
import {
  type MetadataListed,
  metadata,
  metadataListed,
  type TopicDescription,
} from '../protocol/messages/metadata.js'
import type { Connection } from './connection.js'
import { unlessAborted } from './deadline.js'
import { type RequestOptions, request } from './request.js'
import { type AnyTopic, topicDifference, topicMismatch } from './topic.js'

const PAIR = [metadata, metadataListed] as const
const PAGE_TOPICS = 500

/** What the broker said of topics, remembered until somebody finds it wrong. */
export class Metadata {
  readonly #connection: Connection
  readonly #known = new Map<string, TopicDescription>()
  readonly #asked = new Map<string, Promise<TopicDescription>>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /**
   * The topic as the broker has it. Rejects with UNKNOWN_TOPIC, with TOPIC_MISMATCH when its encodings are others than
   * the program's, and as requests do.
   */
  async resolve(topic: AnyTopic, signal?: AbortSignal): Promise<TopicDescription> {
    const description = this.#known.get(topic.name) ?? (await unlessAborted(this.#ask(topic.name), signal))
    const expected = { keyEncoding: topic.key.encoding, valueEncoding: topic.value.encoding }
    const differs = topicDifference(expected, description)
    if (differs === undefined) return description
    // It may have been deleted and made anew, with what is expected now: ask again next time.
    this.forget(topic.name)
    throw topicMismatch(topic.name, differs)
  }

  /** As the broker has it now, whatever was known. */
  async describe(name: string, options: RequestOptions = {}): Promise<TopicDescription> {
    const { topics } = await request(
      this.#connection,
      PAIR,
      { names: [name], after: null, limit: null },
      options,
    )
    const description = topics[0]
    if (description === undefined) {
      this.forget(name)
      throw new MillraceError('UNKNOWN_TOPIC', {
        message: `there is no topic "${name}"`,
        details: { topic: name },
      })
    }
    this.#known.set(name, description)
    return description
  }

  /** All topics by name. */
  async list(options: RequestOptions = {}): Promise<TopicDescription[]> {
    const all: TopicDescription[] = []
    let after: string | null = null
    do {
      const page: MetadataListed = await request(
        this.#connection,
        PAIR,
        { names: null, after, limit: PAGE_TOPICS },
        options,
      )
      all.push(...page.topics)
      after = page.next
    } while (after !== null)
    return all
  }

  /** It was found to be wrong: the next one who asks gets the broker's word. */
  forget(name: string): void {
    this.#known.delete(name)
  }

  /** Asks the broker once for all who want to know at the same time. */
  #ask(name: string): Promise<TopicDescription> {
    const asked = this.#asked.get(name)
    if (asked !== undefined) return asked
    const answer = this.describe(name).finally(() => this.#asked.delete(name))
    this.#asked.set(name, answer)
    return answer
  }
}
