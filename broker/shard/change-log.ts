import { RecordBatchBuilder } from '../../protocol/records.js'
import type { Metrics } from '../platform/metrics.js'
import { type AppendBatch, plainBatch } from './append-batch.js'
import { CHANGES_TOPIC, type ChangeEvent, type ChangeFacts, eventsOf, nameOf } from './change-events.js'
import type { Command } from './commands.js'
import { type PartitionKeyText, type PartitionName, partitionKey, type ShardState } from './state.js'

export interface ChangeLogOptions {
  readonly state: ShardState
  readonly metrics: Metrics
  /** Of a group that is cut for the log. */
  readonly groupBytesMax: number
}

/** Of one WAL group. */
const EVENTS_MAX = 1000
const BYTES_MAX = 256 * 1024
/** Of the group's bytes, so that records go on. */
const GROUP_SHARE = 4
/** Events that wait; what comes on top is counted only. */
const WAITING_MAX = 10_000

interface DirtyCursor extends PartitionName {
  readonly groupId: number
}

/** Gathers the events of `_millrace.changes` and puts them, a batch at a time, into the groups that are cut. */
export class ChangeLog {
  readonly #options: ChangeLogOptions
  readonly #builder = new RecordBatchBuilder()
  #waiting: ChangeEvent[] = []
  #skipped = 0
  /** Cursors and queues that moved since they were told, longest first. */
  readonly #dirty = new Map<`${number}/${PartitionKeyText}`, DirtyCursor>()

  constructor(options: ChangeLogOptions) {
    this.#options = options
  }

  /** Notes what no command says; it is written with the next group. */
  add(facts: ChangeFacts, time: number): void {
    if (this.#waiting.length >= WAITING_MAX) this.#skipped++
    else this.#waiting.push({ ...facts, time })
  }

  /** Events wait for a group. */
  get isWaiting(): boolean {
    return (this.#waiting.length > 0 || this.#skipped > 0) && this.#topic !== undefined
  }

  /** A group is on disk and applied: the cursors that it moved will be told. */
  applied(commands: Iterable<Command>): void {
    for (const command of commands) {
      switch (command.type) {
        case 'cursorsMoved':
        case 'cursorsReset':
        case 'groupAssigned':
          for (const move of command.moves) this.#touch(command.groupId, move)
          break
        case 'queueMoved':
          this.#touch(command.groupId, command)
          break
      }
    }
  }

  #touch(groupId: number, { topicId, partition }: PartitionName): void {
    const at = { topicId, partition }
    this.#dirty.set(`${groupId}/${partitionKey(at)}`, { groupId, ...at })
  }

  /** What the group that is being cut adds to the topic; undefined for nothing. Its commands are decided, not applied. */
  take(commands: Iterable<Command>, time: number): AppendBatch | undefined {
    for (const facts of eventsOf(commands, this.#options.state)) this.add(facts, time)
    return this.isWaiting ? this.#batch(time) : undefined
  }

  /** Notes where the cursors are now that moved since the last call: called now and then, so acks cost no event each. */
  tellCursors(time: number): void {
    const { state } = this.#options
    let told = 0
    for (const [name, { groupId, ...at }] of this.#dirty) {
      if (told++ === EVENTS_MAX) return
      this.#dirty.delete(name)
      const group = state.groups.get(groupId)
      const topic = nameOf(state, at.topicId)
      const key = partitionKey(at)
      const offset = group?.cursors.get(key)?.offset ?? group?.queues.get(key)?.floor
      if (group === undefined || topic === undefined || offset === undefined) continue
      this.add({ type: 'cursorMoved', topic, partition: at.partition, group: group.name, offset }, time)
    }
  }

  get #topic() {
    const topic = this.#options.state.topicsByName.get(CHANGES_TOPIC)
    return topic?.row.internal === true && !topic.deleting ? topic.row : undefined
  }

  #batch(time: number): AppendBatch | undefined {
    const topic = this.#topic
    if (topic === undefined) return undefined
    const { metrics, groupBytesMax } = this.#options
    const bytesMax = Math.min(BYTES_MAX, groupBytesMax / GROUP_SHARE)
    const builder = this.#builder
    let taken = 0
    for (const event of this.#waiting) {
      if (taken === EVENTS_MAX || builder.bytes >= bytesMax) break
      builder.append({ key: keyOf(event), value: JSON.stringify(event), timestamp: event.time })
      taken++
    }
    this.#waiting = taken === this.#waiting.length ? [] : this.#waiting.slice(taken)
    metrics.count('changeEvents', taken)
    if (this.#skipped > 0 && this.#waiting.length === 0) {
      const event = { type: 'skipped', count: this.#skipped, time } as const
      builder.append({ key: null, value: JSON.stringify(event), timestamp: time })
      metrics.count('changeEventsSkipped', this.#skipped)
      this.#skipped = 0
    }
    const { payload, recordCount, baseTimestamp } = builder.finish()
    // The builder's memory is used again before the group is on disk.
    const records = { payload: payload.slice(), recordCount, baseTimestamp }
    return plainBatch(records, { topicId: topic.topicId, partition: 0 })
  }
}

const keyOf = (event: ChangeEvent): string | null => ('topic' in event ? event.topic : null)
