import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import type { Face } from '../plan.js'
import { alter, EXPIRIES } from './alter-program.js'
import { writeTogether } from './atomic-program.js'
import { fetchChunks } from './chunk-program.js'
import { consume } from './consumer-program.js'
import { raceForIds } from './dedup-program.js'
import { reign } from './epoch-program.js'
import { claim, get, post } from './http-program.js'
import { askCursors, inspect, shred } from './inspector-program.js'
import { keepLedger } from './ledger-program.js'
import { passThrough } from './passing-group-program.js'
import { makeAndDelete } from './passing-topic-program.js'
import { produce } from './producer-program.js'
import { read } from './reader-program.js'
import { resetGroup } from './reset-program.js'
import { writeStreams } from './stream-author-program.js'
import { readStreams } from './stream-reader-program.js'
import { StreamShelf } from './streams.js'
import { tail } from './tail-program.js'
import { brokersTopic, ensureTopic, isPassing, newTopic, type WorkTopic } from './topics.js'
import { tendDeadLetters } from './undertaker-program.js'
import { work } from './worker-program.js'

/** So long that no jump of the broker's clock ends it. */
const WEEK_MS = 7 * 24 * 3_600_000

type Program = (process: ClientProcess) => Promise<void>

/** Programs that use the broker, until they are asked to come to an end. */
export class Workload {
  readonly topics: WorkTopic[] = []
  readonly shelf = new StreamShelf()
  readonly #lab: Lab
  readonly #groups: string[] = []
  /** Those that make work, and those that do it: these end when there is none left. */
  readonly #makers: Crew
  readonly #doers: Crew

  /** `parts`: how many of its kinds of work it does; default two to four, so that each has enough of the steps to get somewhere. */
  constructor(lab: Lab, options: { readonly parts?: number } = {}) {
    this.#lab = lab
    this.#makers = new Crew(lab)
    this.#doers = new Crew(lab)
    const { random } = lab
    const parts: (() => void)[] = [
      () => this.#streams(),
      () => this.#copies(),
      () => this.#jobs(),
      () => this.#dedup(),
      () => this.#ledger(),
      () => this.#together(),
      () => this.#passingTopics(),
      () => this.#expiring(),
      () => this.#rewinding(),
      () => this.#visits(),
      () => this.#reigns(),
      () => this.#http(),
    ]
    const { face } = lab.plan
    const count = options.parts ?? 2 + random.below(3)
    if (face !== undefined) this.#face(face)
    // One beside it, so that it gets somewhere.
    for (let left = face === undefined ? count : 1; left > 0 && parts.length > 0; left--)
      parts.splice(random.below(parts.length), 1)[0]?.()
    // Not those that are made meanwhile: they may be deleted by now.
    const topics = [...this.topics]
    if (topics.length === 0) return
    this.#makers.add('inspector', 1, (process) =>
      inspect(lab, process, {
        topics,
        groups: this.#groups,
        deletable: this.topics.find(({ name }) => name === 'orders'),
      }),
    )
  }

  /** Resolves when all is written, read and acknowledged that there is to be. */
  async end(): Promise<void> {
    await this.#makers.end()
    await this.#untilDone()
    await this.#doers.end()
  }

  #topic(
    name: string,
    partitions: number,
    settings: WorkTopic['settings'] = {},
    options: { expires?: boolean } = {},
  ): WorkTopic {
    const topic = newTopic(this.#lab, { name, partitions, settings, ...options })
    this.topics.push(topic)
    return topic
  }

  /** Producers, and readers of what they write. */
  #streams(): void {
    const { random } = this.#lab
    const orders = this.#topic('orders', 1 + random.below(3))
    this.#makers.add('producer', 1 + random.below(3), (process) => produce(this.#lab, process, orders), {
      isMortal: true,
    })
    this.#doers.add('reader', 1 + random.below(2), (process) => read(this.#lab, process, orders))
  }

  /** A group that copies, each input once, and another that only acknowledges. */
  #copies(): void {
    const { random } = this.#lab
    const settings = random.chance(0.5) ? { retention: { untilAcked: true } } : {}
    const from = this.#topic('inputs', 1 + random.below(4), settings)
    const to = this.#topic('outputs', 1 + random.below(2))
    this.#makers.add('input', 1, (process) => produce(this.#lab, process, from), { isMortal: true })
    const member = (group: string, to?: WorkTopic): void => {
      this.#groups.push(group)
      this.#doers.add(
        group,
        1 + random.below(3),
        (process) => consume(this.#lab, process, { group, from, to }),
        {
          isMortal: true,
        },
      )
    }
    member('copiers', to)
    if (random.chance(0.5)) member('watchers')
    if (random.chance(0.5)) this.#handlers(from)
    this.#doers.add('output reader', 1, (process) => read(this.#lab, process, to))
  }

  #handlers(from: WorkTopic): void {
    const group = 'handlers'
    this.#groups.push(group)
    this.#deadLetters(from, group)
    this.#doers.add(
      group,
      1 + this.#lab.random.below(2),
      (process) => consume(this.#lab, process, { group, from, isHandled: true }),
      { isMortal: true },
    )
  }

  /** A work queue. */
  #jobs(): void {
    const { random, history } = this.#lab
    const from = this.#topic('mails', 1 + random.below(2))
    const to = this.#topic('made', 1)
    const queue = {
      group: 'mailers',
      from,
      to,
      leaseMs: random.pick([1_000, 5_000]),
      maxDeliveries: random.pick([2, 5]),
    }
    history.record({
      type: 'queue',
      group: queue.group,
      topicId: from.name,
      maxDeliveries: queue.maxDeliveries,
    })
    this.#deadLetters(from, queue.group, queue.maxDeliveries)
    this.#groups.push(queue.group)
    this.#makers.add('mail', 1, (process) => produce(this.#lab, process, from))
    this.#doers.add('mailer', 1 + random.below(3), (process) => work(this.#lab, process, queue), {
      isMortal: true,
    })
  }

  /** What a group gives up; somebody may look after it. */
  #deadLetters(topic: WorkTopic, group: string, maxDeliveries?: number): void {
    const { random, history } = this.#lab
    this.topics.push(brokersTopic(this.#lab, `${topic.name}.${group}.dlq`))
    if (random.chance(0.5)) return
    const retried = brokersTopic(this.#lab, `${topic.name}.${group}.retry`)
    if (maxDeliveries !== undefined)
      history.record({ type: 'queue', group, topicId: retried.name, maxDeliveries })
    this.#makers.add(`undertaker of ${group}`, 1, (process) =>
      tendDeadLetters(this.#lab, process, { topic, group }),
    )
  }

  /** A group that is set back and forth, of consumers or of workers. */
  #rewinding(): void {
    const { random, history } = this.#lab
    const settings = random.chance(0.3) ? { retention: { untilAcked: true } } : {}
    const topic = this.#topic('tapes', 1 + random.below(2), settings)
    this.#makers.add('taper', 1, (process) => produce(this.#lab, process, topic), { isMortal: true })
    const isQueue = random.chance(0.3)
    const group = isQueue ? 'spoolers' : 'rewinders'
    this.#groups.push(group)
    const reset = (process: ClientProcess): Promise<void> =>
      resetGroup(this.#lab, process, { topic, group, isQueue })
    const queue = { group, from: topic, to: topic, leaseMs: 1_000, maxDeliveries: 5 }
    if (isQueue) {
      history.record({ type: 'queue', group, topicId: topic.name, maxDeliveries: queue.maxDeliveries })
      this.topics.push(brokersTopic(this.#lab, `${topic.name}.${group}.dlq`))
    }
    this.#doers.add(group, 1 + random.below(2), (process) => {
      const between = (): Promise<void> => reset(process)
      if (isQueue) return work(this.#lab, process, { ...queue, between })
      return consume(this.#lab, process, { group, from: topic, between })
    })
    // It does not get to do it as long as anybody is a member.
    this.#makers.add('meddler', 1, async (process) => {
      await ensureTopic(process, [topic])
      while (!process.isEnding) {
        await process.sleep(50 + random.below(100))
        await reset(process)
      }
    })
  }

  /** Groups that come and go, beside one that stays. */
  #visits(): void {
    const { random } = this.#lab
    const settings = random.chance(0.6) ? { retention: { untilAcked: true } } : {}
    const topic = this.#topic('news', 1 + random.below(2), settings)
    this.#makers.add('editor', 1, (process) => produce(this.#lab, process, topic), { isMortal: true })
    this.#makers.add('visitor', 1 + random.below(2), (process) => passThrough(this.#lab, process, topic), {
      isMortal: true,
    })
    this.#groups.push('regulars')
    this.#doers.add('regular', 1, (process) =>
      consume(this.#lab, process, { group: 'regulars', from: topic }),
    )
  }

  /** Producers that take a name from each other. */
  #reigns(): void {
    const { random } = this.#lab
    const topic = this.#topic('decrees', 1 + random.below(2))
    this.#makers.add('ruler', 2 + random.below(2), (process) => reign(this.#lab, process, topic), {
      isMortal: true,
    })
    this.#doers.add('decree reader', 1, (process) => read(this.#lab, process, topic))
  }

  /** Programs without the client library. */
  #http(): void {
    const { random, history, serveHttp } = this.#lab
    if (serveHttp === undefined) return
    const linkOf = serveHttp()
    const topic = this.#topic('hooks', 1 + random.below(2))
    const queue = { group: 'hookers', from: topic, to: topic, leaseMs: 1_000, maxDeliveries: 5 }
    const { group, maxDeliveries } = queue
    history.record({ type: 'queue', group, topicId: topic.name, maxDeliveries })
    this.topics.push(brokersTopic(this.#lab, `${topic.name}.${group}.dlq`))
    this.#groups.push(group)
    this.#makers.add('poster', 1 + random.below(2), (process) =>
      post(this.#lab, process, topic, linkOf(process)),
    )
    this.#doers.add('getter', 1, (process) => get(this.#lab, process, topic, linkOf(process)))
    this.#doers.add('claimer', 1 + random.below(2), (process) =>
      claim(this.#lab, process, queue, linkOf(process)),
    )
    // Both kinds of workers share the queue.
    if (random.chance(0.3)) this.#doers.add('hooker', 1, (process) => work(this.#lab, process, queue))
  }

  /** What is there over HTTP alone. */
  #face(face: Face): void {
    const { random, serveHttp } = this.#lab
    if (serveHttp === undefined) return
    const linkOf = serveHttp()
    if (face === 'streams') {
      const { shelf } = this
      this.#makers.add('author', 1 + random.below(3), (process) =>
        writeStreams(this.#lab, process, shelf, linkOf(process)),
      )
      this.#makers.add('scholar', 1 + random.below(2), (process) =>
        readStreams(this.#lab, process, shelf, linkOf(process)),
      )
      return
    }
    const topic = this.#topic(face === 'tails' ? 'ticker' : 'annals', 1 + random.below(3))
    this.#makers.add('annalist', 1 + random.below(2), (process) => produce(this.#lab, process, topic), {
      isMortal: true,
    })
    if (face === 'tails')
      this.#doers.add('follower', 1 + random.below(3), (process) =>
        tail(this.#lab, process, topic, linkOf(process)),
      )
    else {
      this.#doers.add('archivist', 1 + random.below(2), (process) =>
        fetchChunks(this.#lab, process, topic, linkOf(process)),
      )
      this.#doers.add('annals reader', 1, (process) => read(this.#lab, process, topic))
      if (random.chance(0.7)) this.#makers.add('shredder', 1, (process) => shred(this.#lab, process, topic))
    }
  }

  #dedup(): void {
    const { random } = this.#lab
    const topic = this.#topic('unique', 1 + random.below(3), { dedupWindowMs: WEEK_MS })
    this.#makers.add('racer', 2 + random.below(2), (process) => raceForIds(this.#lab, process, topic), {
      isMortal: true,
    })
    this.#doers.add('unique reader', 1, (process) => read(this.#lab, process, topic))
  }

  #ledger(): void {
    const ledger = this.#topic('ledger', 1)
    this.#makers.add('keeper', 2, (process) => keepLedger(this.#lab, process, ledger), { isMortal: true })
    this.#doers.add('ledger reader', 1, (process) => read(this.#lab, process, ledger))
  }

  #together(): void {
    const topics = [this.#topic('left', 2), this.#topic('right', 1)]
    this.#makers.add('writer', 2, (process) => writeTogether(this.#lab, process, topics), { isMortal: true })
    for (const topic of topics)
      this.#doers.add(`${topic.name} reader`, 1, (process) => read(this.#lab, process, topic))
  }

  /** Records that go by themselves, read or not, each topic's in their own way; somebody may change his mind about it. */
  #expiring(): void {
    const { random } = this.#lab
    const topics = Array.from({ length: 1 + random.below(3) }, (_, i) => this.#expiringTopic(`events-${i}`))
    if (random.chance(0.5)) this.#makers.add('alterer', 1, (process) => alter(this.#lab, process, topics))
    if (random.chance(0.5)) return
    this.#groups.push('loggers')
    const from = random.pick(topics)
    this.#doers.add('logger', 1, (process) => consume(this.#lab, process, { group: 'loggers', from }))
  }

  #expiringTopic(name: string): WorkTopic {
    const { random } = this.#lab
    const retention = random.pick(EXPIRIES)
    const topic = this.#topic(name, 1 + random.below(2), { retention }, { expires: true })
    this.#makers.add(`${name} source`, 1, (process) => produce(this.#lab, process, topic), { isMortal: true })
    if (random.chance(0.5)) this.#doers.add(`${name} reader`, 1, (process) => read(this.#lab, process, topic))
    return topic
  }

  #passingTopics(): void {
    const { random } = this.#lab
    this.#makers.add('maker', 1 + random.below(2), (process) =>
      makeAndDelete(this.#lab, process, (topic) => this.topics.push(topic)),
    )
  }

  /** Until no group has anything left to do. */
  async #untilDone(): Promise<void> {
    const process = this.#lab.newProcess('foreman')
    process.run(async () => {
      for (const group of this.#groups) {
        for (let left = 1; left > 0; await process.sleep(100)) {
          try {
            left = await askCursors(this.#lab, process, group)
          } catch (error) {
            if (!isPassing(error)) throw error
          }
        }
      }
    })
    await process.over
  }
}

/** Processes that are made anew when they die. */
class Crew {
  readonly #lab: Lab
  readonly #working = new Set<ClientProcess>()
  #isEnding = false
  #whenEmpty: () => void = () => {}

  constructor(lab: Lab) {
    this.#lab = lab
  }

  add(name: string, count: number, program: Program, options: { isMortal?: boolean } = {}): void {
    for (let i = 0; i < count; i++) this.#start(`${name} ${i + 1}`.replaceAll(' ', '-'), 1, program, options)
  }

  end(): Promise<void> {
    this.#isEnding = true
    for (const process of this.#working) process.end()
    return new Promise((resolve) => {
      this.#whenEmpty = resolve
      if (this.#working.size === 0) resolve()
    })
  }

  #start(name: string, life: number, program: Program, options: { isMortal?: boolean }): void {
    const process = this.#lab.newProcess(life === 1 ? name : `${name}.${life}`, options)
    this.#working.add(process)
    process.run(() => program(process))
    void process.over.then(() => {
      this.#working.delete(process)
      if (process.owner.isDead && !this.#isEnding) this.#start(name, life + 1, program, options)
      else if (this.#isEnding && this.#working.size === 0) this.#whenEmpty()
    })
  }
}
