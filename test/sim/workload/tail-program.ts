import type { ClientProcess } from '../client-process.js'
import type { HttpLink } from '../http-link.js'
import type { Lab } from '../lab.js'
import { EventText, type ServerEvent } from './event-text.js'
import { assertHttpPossible, HttpError } from './http-calls.js'
import { nameOf } from './payload.js'
import { thinkMs } from './think.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

/** Follows a topic, or one of its partitions, as server-sent events, and comes back with the id of the last event that it got. */
export async function tail(
  lab: Lab,
  process: ClientProcess,
  topic: WorkTopic,
  link: HttpLink,
): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const partition = random.chance(0.5) ? undefined : random.below(topic.partitions)
    const following = new Following(lab, process, { topic, partition, link, round })
    await following.run()
    await process.sleep(5 + thinkMs(lab, random))
  }
}

/** A record as an event has it. */
interface EventRecord {
  readonly partition: number
  readonly offset: number
  readonly value: unknown
}

class Following {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #topic: WorkTopic
  /** undefined: all of them. */
  readonly #partition: number | undefined
  readonly #link: HttpLink
  readonly #reader: string
  readonly #start: 'earliest' | 'latest'
  /** By partition, the offset that is due. */
  readonly #due = new Map<number, number>()
  #lastId: string | undefined
  #isOver = false

  constructor(
    lab: Lab,
    process: ClientProcess,
    of: { topic: WorkTopic; partition: number | undefined; link: HttpLink; round: number },
  ) {
    this.#lab = lab
    this.#process = process
    this.#topic = of.topic
    this.#partition = of.partition
    this.#link = of.link
    this.#reader = `${process.name}/${of.round}`
    this.#start = process.random.pick(['earliest', 'earliest', 'latest'])
  }

  async run(): Promise<void> {
    const { random } = this.#process
    for (let left = 1 + random.below(8); left > 0 && !this.#isOver && !this.#process.isEnding; left--) {
      try {
        await this.#follow()
      } catch (error) {
        this.#failed(error)
      }
      await this.#process.sleep(1 + thinkMs(this.#lab, random))
    }
  }

  get #path(): string {
    const path = `/v1/topics/${this.#topic.name}`
    if (this.#partition === undefined) return `${path}/events?from=${this.#start}`
    return `${path}/partitions/${this.#partition}/events?offset=${this.#start}`
  }

  async #follow(): Promise<void> {
    const text = new EventText()
    const { random } = this.#process
    const leaveOdds = random.pick([0, 0.02, 0.2])
    const headers = this.#lastId === undefined ? {} : { 'last-event-id': this.#lastId }
    let failure: HttpError | undefined
    const answer = await this.#link.follow({ method: 'GET', path: this.#path, headers }, (bytes) => {
      for (const event of text.take(bytes)) {
        if (event.name === 'error') failure = new HttpError({ body: JSON.parse(event.data), status: 200 })
        else this.#got(event)
      }
      return failure !== undefined || random.chance(leaveOdds) || this.#process.isEnding
    })
    if (failure !== undefined) this.#link.complain(failure.code)
    if (failure !== undefined) throw failure
    if (answer !== undefined && answer.status >= 300) throw new HttpError(answer)
  }

  #got({ id = '', data }: ServerEvent): void {
    const { partition, offset, value } = JSON.parse(data) as EventRecord
    // Before them it may say of which topic they are.
    const positions = id
      .slice(id.indexOf(':') + 1)
      .split('-')
      .map(Number)
    const next = this.#partition === undefined ? positions[partition] : positions[0]
    if (next === undefined || Number.isNaN(next)) throw new Error(`"${id}" does not say where to go on`)
    const from = this.#due.get(partition) ?? offset
    this.#lab.history.record({
      type: 'read',
      reader: this.#reader,
      topicId: this.#topic.name,
      partition,
      from,
      next,
      records: [[offset, nameOf(value)]],
    })
    this.#lastId = id
    this.#due.set(partition, next)
    // Where the others were is known from the first event on.
    if (this.#partition === undefined)
      for (const [other, position] of positions.entries())
        if (!this.#due.has(other)) this.#due.set(other, position)
  }

  /** Throws what nobody may be told. */
  #failed(error: unknown): void {
    const { code, details } = error as HttpError
    if (isPassing(error)) return
    if (code !== 'OFFSET_OUT_OF_RANGE') assertHttpPossible(error)
    // Its next records are not there any more, and nobody has deleted them: the checker says so.
    this.#isOver = true
    const { partition = 0, startOffset = 0, endOffset = 0 } = details as Record<string, number>
    const place = { topicId: this.#topic.name, partition }
    this.#lab.history.record({ type: 'bounds', ...place, startOffset, endOffset })
  }
}
