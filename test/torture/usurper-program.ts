import type { SendResult } from '../../client/index.js'
import type { Lab } from '../sim/lab.js'
import { payloadOf } from '../sim/workload/payload.js'
import { assertPossible, placeOf, recorded } from '../sim/workload/recorded-writes.js'
import { thinkMs } from '../sim/workload/think.js'
import { ensureTopic, newTopic, type WorkTopic } from '../sim/workload/topics.js'

const RIVALS = 2
const SENDS = 100
/** Their one producer name has one producer id, whatever the broker calls it. */
const PRODUCER_ID = 1

type Process = ReturnType<Lab['newProcess']>

/** Processes that take one producer's name from each other: whoever has lost it writes nothing more. */
export function usurp(lab: Lab): { readonly topic: WorkTopic; readonly processes: readonly Process[] } {
  const topic = newTopic(lab, { name: 'throne', partitions: 1 })
  const rivals = Array.from({ length: RIVALS }, (_, i) => lab.newProcess(`usurper-${i + 1}`))
  const reigns = new Set<Reign>()
  for (const process of rivals) {
    process.run(async () => {
      await ensureTopic(process, [topic])
      while (!process.isEnding) {
        const reign = new Reign(lab, process, topic, reigns)
        await reign.run()
        reigns.delete(reign)
      }
    })
  }
  return { topic, processes: rivals }
}

/** One producer, from its start to the end of what it sent. */
class Reign {
  readonly #lab: Lab
  readonly #process: Process
  readonly #topic: WorkTopic
  /** Grows with each reign that is known to have begun after all others. */
  readonly #epoch: number
  readonly #isKnownNewest: boolean
  #isAnswered = false

  constructor(lab: Lab, process: Process, topic: WorkTopic, others: Set<Reign>) {
    this.#lab = lab
    this.#process = process
    this.#topic = topic
    this.#epoch = lab.history.next
    // Whoever has no answer yet may get the name after this one.
    this.#isKnownNewest = [...others].every((other) => other.#isAnswered)
    others.add(this)
  }

  async run(): Promise<void> {
    const { client, random } = this.#process
    const producer = client.producer(this.#topic.topic, { name: 'king', deliveryTimeoutMs: 20_000 })
    const sends: Promise<void>[] = []
    for (let i = 0; i < SENDS && !this.#process.isEnding; i++) {
      const value = `${this.#process.name}/${this.#epoch}/${i}`
      const payload = payloadOf(value, random.pick([0, 200]))
      const sending = this.#send({
        value,
        sequence: i,
        send: () => producer.send({ value: payload, partition: 0 }),
      })
      // Thrown where all are awaited.
      sending.catch(() => {})
      sends.push(sending)
      await this.#process.sleep(thinkMs(this.#lab, random))
    }
    await Promise.all(sends)
    await producer.close()
  }

  async #send({
    value,
    sequence,
    send,
  }: {
    value: string
    sequence: number
    send: () => Promise<SendResult>
  }): Promise<void> {
    const { history } = this.#lab
    const { name } = this.#process
    const question = {
      type: 'write',
      process: name,
      stream: `${name}/${this.#epoch}`,
      records: [{ topicId: this.#topic.name, partition: 0, value }],
      producer: this.#isKnownNewest ? { id: PRODUCER_ID, epoch: this.#epoch, sequence } : undefined,
    } as const
    const outcome = await recorded(history, question, send, (result) => [placeOf(result)])
    if ('error' in outcome) assertPossible(outcome.error)
    else if (!this.#isAnswered) {
      this.#isAnswered = true
      if (this.#isKnownNewest)
        history.record({ type: 'producer', process: name, producerId: PRODUCER_ID, epoch: this.#epoch })
    }
  }
}
