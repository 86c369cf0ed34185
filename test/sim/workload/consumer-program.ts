import type { Consumer, GroupRecord, ReadRecordOf } from '../../../client/index.js'
import type { Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { LateAcks } from './late-acks.js'
import { attemptOf, nameOf, payloadOf } from './payload.js'
import { assertPossible, placesOf, recorded } from './recorded-writes.js'
import { thinkMs } from './think.js'
import { ensureTopic, heldIn, isPassing, type WorkTopic } from './topics.js'

export interface GroupWork {
  readonly group: string
  readonly from: WorkTopic
  /** Where copies go, each with the ack of what it was made from; without it records are acknowledged alone. */
  readonly to?: WorkTopic | undefined
  /** A function handles each record, and what it throws for is a dead letter; else a loop takes batches. */
  readonly isHandled?: boolean
  /** Done by a member that has left, before it joins again. */
  readonly between?: (() => Promise<void>) | undefined
}

interface MembersWork extends GroupWork {
  readonly lateAcks: LateAcks
}

interface Given {
  readonly group: string
  readonly member: string
  readonly topicId: string
  readonly partition: number
  readonly generation: number | undefined
  readonly offset: number
}

type Record = GroupRecord<ReadRecordOf<WorkTopic['topic']>>

/** What ends a membership and is nobody's fault: it joins again. */
const ENDS = new Set(['FENCED', 'ALREADY_ACKED', 'OFFSET_OUT_OF_RANGE'])

/** Is a member of a consumer group, leaves it, joins again, for as long as the run lasts. */
export async function consume(lab: Lab, process: ClientProcess, work: GroupWork): Promise<void> {
  await ensureTopic(process, work.to === undefined ? [work.from] : [work.from, work.to])
  const lateAcks = new LateAcks(lab, process)
  while (!process.isEnding) {
    try {
      const membership = new Membership(lab, process, { ...work, lateAcks })
      await (work.isHandled === true ? membership.handle() : membership.loop())
    } catch (error) {
      if (process.isEnding) return
      const { code = '' } = error as { code?: string }
      if (!ENDS.has(code) && !isPassing(error)) {
        assertPossible(error)
        throw error
      }
    }
    await process.sleep(1 + process.random.below(30))
    if (!process.isEnding) await work.between?.()
  }
}

class Membership {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #work: MembersWork
  readonly #consumer: Consumer<ReadRecordOf<WorkTopic['topic']>>
  readonly #leaveOdds: number
  readonly #acksNowOdds: number
  /** Where each partition goes on, by the epoch at which it was got. */
  readonly #due = new Map<string, number>()

  constructor(lab: Lab, process: ClientProcess, work: MembersWork) {
    const { random, client } = process
    this.#lab = lab
    this.#process = process
    this.#work = work
    this.#leaveOdds = random.pick(work.between === undefined ? [0, 0.01, 0.1] : [0.1, 0.3])
    this.#acksNowOdds = random.pick([0, 0.3, 1])
    this.#consumer = client.consume(work.from.topic, {
      group: work.group,
      ifNoCursor: 'earliest',
      sessionTimeoutMs: random.pick([1_000, 3_000]),
      prefetchBytes: random.pick([1_000, 100_000]),
      ackIntervalMs: random.pick([0, 20]),
      signal: process.ending,
    })
  }

  async loop(): Promise<void> {
    const { random } = this.#process
    for await (const batch of this.#consumer.batches()) {
      const { partition, nextOffset } = batch
      const at = this.#given(heldIn(batch.records[0] ?? {}, this.#work), partition, nextOffset, batch.records)
      if (random.chance(0.05)) {
        this.#work.lateAcks.keep(at)
        return
      }
      await this.#work.lateAcks.give(at)
      if (this.#work.to !== undefined) await this.#copy(this.#work.to, at, batch.records)
      else if (random.chance(this.#acksNowOdds)) await this.#acked(at, () => batch.acked())
      else this.#ack(at, batch)
      if (random.chance(this.#leaveOdds)) return
      await this.#process.sleep(thinkMs(this.#lab, random) / 4)
    }
  }

  async handle(): Promise<void> {
    const { random } = this.#process
    const { history } = this.#lab
    const handle = async (record: Record): Promise<void> => {
      const at = this.#given(heldIn(record, this.#work), record.partition, record.offset + 1, [record])
      await this.#process.sleep(thinkMs(this.#lab, random) / 4)
      // Whether it throws or not, the group passes the record.
      history.record({ type: 'ack', op: history.op(), ...at })
      if (random.chance(this.#leaveOdds)) void this.#consumer.close().catch(assertPossible)
      if (random.chance(0.05)) throw new Error('this one is refused')
    }
    await this.#consumer.run(handle, {
      concurrency: random.pick([1, 4]),
      order: 'partition',
      onError: 'deadLetter',
      graceMs: 100,
    })
  }

  /** `topicId`: the topic, or that of the dead letters that are replayed. */
  #given(topicId: string, partition: number, nextOffset: number, records: readonly Record[]): Given {
    const { tap } = this.#process
    const { group, from: topic } = this.#work
    const member = tap.memberOf(group)
    const assignment = tap.assignmentOf(member, topicId, partition)
    const key = `${member}/${topicId}/${partition}/${assignment?.epoch}`
    const first = records[0]?.offset ?? nextOffset
    // Where it would be, it says nothing about what was deleted meanwhile.
    const from = topic.expires ? first : (this.#due.get(key) ?? assignment?.cursor ?? first)
    this.#due.set(key, nextOffset)
    const at = { group, member, topicId, partition, generation: assignment?.epoch }
    const seen = records.map(({ offset, value }): Seen => [offset, nameOf(value)])
    this.#lab.history.record({ type: 'given', ...at, from, next: nextOffset, records: seen })
    return { ...at, offset: nextOffset }
  }

  async #acked(at: Given, ack: () => Promise<void>): Promise<void> {
    const outcome = await recorded(this.#lab.history, { type: 'ack', ...at }, ack)
    if ('error' in outcome) throw outcome.error
  }

  /** Without waiting for what comes of it, now or later. */
  #ack(at: Given, batch: { ack(): void }): void {
    const { history } = this.#lab
    const give = (): void => {
      history.record({ type: 'ack', op: history.op(), ...at })
      batch.ack()
    }
    if (this.#process.random.chance(0.8)) give()
    else void this.#process.sleep(300).then(give)
  }

  /** Consume, transform, produce: all of it or nothing. */
  async #copy(to: WorkTopic, at: Given, records: readonly Record[]): Promise<void> {
    const { client, random } = this.#process
    const last = records.at(-1)
    if (last === undefined) return
    const attempt = `${this.#process.name}/${this.#lab.history.next}`
    const copies = records.map(({ offset }) => ({
      partition: random.below(to.partitions),
      value: attemptOf(`copy/${at.topicId}/${at.partition}/${offset}`, attempt),
    }))
    const outcome = await recorded(
      this.#lab.history,
      {
        type: 'write',
        process: this.#process.name,
        atomic: true,
        records: copies.map(({ partition, value }) => ({ topicId: to.name, partition, value })),
        acks: [{ kind: 'cursor', ...at }],
      },
      () =>
        client.atomic(
          {
            writes: copies.map(({ partition, value }) =>
              to.topic.record({ partition, value: payloadOf(value, 5) }),
            ),
            acks: [last],
          },
          { deliveryTimeoutMs: random.pick([1_000, 60_000]) },
        ),
      placesOf,
    )
    if ('error' in outcome) throw outcome.error
  }
}
