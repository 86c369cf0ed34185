import { applyAppend, applyCommand, beginGroup } from '../../../broker/shard/apply.js'
import { type Command, decodeCommand, encodeCommand } from '../../../broker/shard/commands.js'
import { startMove } from '../../../broker/shard/start-move.js'
import { type GroupState, type PartitionState, ShardState } from '../../../broker/shard/state.js'
import { setBit, writeSection } from '../../../protocol/entry-section.js'
import {
  clusterIdFrom,
  memberIdFrom,
  type RequestId,
  requestIdFrom,
  topicIdFrom,
} from '../../../protocol/ids.js'
import { DEFAULT_TOPIC_OPTIONS } from '../../../protocol/topic-options.js'
import type { SeededRandom } from '../../support/seeded-random.js'

export const newState = (): ShardState =>
  new ShardState({ clusterId: clusterIdFrom('c1'.repeat(16)), walId: 'd2'.repeat(16) })

/** What a walk applies: a command, or an entry. */
type Step = { readonly command: Command } | { readonly append: Append }

interface Append {
  readonly topicId: PartitionState['topicId']
  readonly partition: number
  readonly records: number
  readonly producerId: number
  readonly baseSequence: number
  readonly section: Uint8Array | undefined
}

/**
 * A history of everything that a shard's checks let happen, one step after the other, applied to one state as it is
 * decided and to another one as it is read from the WAL.
 */
export class StateWalk {
  readonly decided = newState()
  readonly replayed = newState()
  readonly seen = new Set<string>()
  readonly #random: SeededRandom
  #time = 1_700_000_000_000
  #ids = 1

  constructor(random: SeededRandom) {
    this.#random = random
  }

  /** A WAL group of one command or entry. */
  step(): void {
    this.#time += this.#random.below(2_000)
    const step = this.#next()
    if (step === undefined) return
    for (const state of [this.decided, this.replayed]) {
      beginGroup(state, this.#time)
      if ('append' in step) this.#append(state, step.append)
      else if (state === this.decided) applyCommand(state, step.command, this.#time)
      else applyCommand(state, throughTheWal(step.command), this.#time)
      state.applied = { sequence: state.applied.sequence + 1, headerCrc: this.#ids }
      state.time = this.#time
      state.overlay.touched = true
    }
    this.seen.add('append' in step ? 'append' : step.command.type)
  }

  #append(state: ShardState, { topicId, partition: number, section, ...batch }: Append): void {
    const partition = state.partition(topicId, number) as PartitionState
    const baseOffset = partition.endOffset
    const lastOffsetDelta = batch.records - 1
    const header = {
      ...batch,
      baseOffset,
      lastOffsetDelta,
      recordCount: batch.records,
      appendTime: this.#time,
    }
    applyAppend(state, partition, { ...header, producerEpoch: 0 }, section)
    partition.tail.push({
      baseOffset,
      endOffset: partition.endOffset,
      appendTime: this.#time,
      bytes: 100,
      sequence: state.applied.sequence + 1,
      segment: 1,
      position: 0,
      slab: undefined,
      slabPosition: 0,
    })
  }

  #id(): string {
    return (this.#ids++).toString(16).padStart(32, '0')
  }

  #requestId(): RequestId {
    return requestIdFrom(this.#id())
  }

  #next(): Step | undefined {
    const choices = [
      () => this.#topic(),
      () => this.#produce(),
      () => this.#produce(),
      () => this.#produce(),
      () => this.#chunks(),
      () => this.#group(),
      () => this.#cursors(),
      () => this.#cursors(),
      () => this.#queue(),
      () => this.#queue(),
      () => this.#producers(),
      () => this.#stream(),
      () => this.#stream(),
      () => ({ command: { type: 'answered' as const, requestId: this.#requestId(), result: [1, null] } }),
    ]
    return this.#random.pick(choices)()
  }

  #topic(): Step | undefined {
    const topics = [...this.decided.topics.values()]
    const options = {
      ...DEFAULT_TOPIC_OPTIONS,
      dedupWindowMs: this.#random.pick([1_000, 60_000]),
      maxAgeMs: this.#random.pick([null, 5_000]),
    }
    const requestId = this.#requestId()
    if (topics.length < 2 || (topics.length < 5 && this.#random.chance(0.3))) {
      const topicId = topicIdFrom(this.#id())
      const names = { name: `topic-${topicId}`, keyEncoding: 'text', valueEncoding: 'json' } as const
      const partitions = 1 + this.#random.below(2)
      const command = { type: 'topicCreated', topicId, partitions, ...names, requestId, options } as const
      return { command: { ...command, internal: this.#random.chance(0.1) } }
    }
    const { topicId } = this.#random.pick(topics).row
    return this.#deletable(topicId) && this.#random.chance(0.15)
      ? { command: { type: 'topicDeleted', topicId, requestId } }
      : { command: { type: 'topicAltered', topicId, options, requestId } }
  }

  /** Streams, their forks, and what becomes of them. */
  #stream(): Step | undefined {
    const topics = [...this.decided.topics.values()]
    const plain = topics.filter(({ stream, row, partitions }) => {
      return stream === undefined && row.partitions === 1 && partitions[0]?.endOffset === 0
    })
    const streams = topics.filter(({ stream }) => stream !== undefined)
    const living = streams.filter(({ stream }) => stream?.row.deleted === false)
    const [topic] = plain
    if (topic !== undefined && (living.length < 2 || this.#random.chance(0.3))) {
      const source = living.length > 0 && this.#random.chance(0.6) ? this.#random.pick(living) : undefined
      const offset = source?.partitions[0]?.endOffset ?? 0
      const { topicId } = topic.row
      const fork =
        source === undefined
          ? null
          : { topicId: source.row.topicId, offset, subOffset: 0, endOffset: offset, endBytes: 0 }
      const life = { contentType: 'text/plain', ttlSeconds: 60, expiresAt: null }
      return { command: { type: 'streamCreated', topicId, ...life, closed: false, opened: true, fork } }
    }
    if (living.length === 0) return undefined
    const { row, stream } = this.#random.pick(living)
    const { topicId } = row
    if (this.#random.chance(0.2))
      return { command: { type: 'streamsAccessed', accesses: [{ topicId, accessedAt: this.#time }] } }
    if (stream !== undefined && stream.forks > 0 && this.#random.chance(0.1))
      return { command: { type: 'streamDeleted', topicId, requestId: this.#requestId() } }
    if (this.#random.chance(0.1)) {
      const silent = [...(stream?.producers.values() ?? [])].slice(0, 2)
      const producers = silent.map(({ producerId }) => ({ topicId, producerId }))
      return { command: { type: 'streamProducersForgotten', producers } }
    }
    const producerId = `producer-${this.#random.below(4)}`
    const last = stream?.producers.get(producerId)
    const forgotten = this.#random.chance(0.1) ? ['producer-3'] : []
    const producer = this.#random.chance(0.7) ? { producerId, epoch: 0, seq: (last?.seq ?? -1) + 1 } : null
    const closes = this.#random.chance(0.02)
    const seq = this.#random.chance(0.3) ? String(this.#ids) : null
    return { command: { type: 'streamMoved', topicId, closes, opens: false, producer, seq, forgotten } }
  }

  /** The topic, with the deleted streams that only it reads from; undefined while others read from it. */
  #deletable(topicId: string): boolean {
    const stream = this.decided.topics.get(topicIdFrom(topicId))?.stream
    const fork = stream?.row.fork
    // What goes with the last fork of a deleted stream is another command of the same record.
    const isLast = fork != null && this.decided.topics.get(fork.topicId)?.stream?.row.deleted === true
    return stream === undefined || (stream.forks === 0 && !isLast)
  }

  #partition(): PartitionState | undefined {
    const partitions = [...this.decided.topics.values()].flatMap((topic) => topic.partitions)
    return partitions.length === 0 ? undefined : this.#random.pick(partitions)
  }

  #produce(): Step | undefined {
    const partition = this.#partition()
    if (partition === undefined) return undefined
    const { topicId } = partition
    const records = 1 + this.#random.below(9)
    const producerId = this.#random.chance(0.5) ? 0 : 1 + this.#random.below(5)
    const last = partition.producers.get(producerId)?.batches.at(-1)
    const batch = {
      topicId,
      partition: partition.partition,
      producerId,
      baseSequence: (last?.lastSequence ?? -1) + 1,
    }
    if (producerId >= this.decided.nextProducerId)
      return { command: { type: 'producerIdsReserved', below: producerId + 1 } }
    if (producerId !== 0 && this.#random.chance(0.2)) {
      const advanced = { type: 'producerAdvanced', producerEpoch: 0, recordCount: records } as const
      return { command: { ...advanced, ...batch, baseOffset: partition.startOffset } }
    }
    const section = this.#random.chance(0.6) ? this.#section(records) : undefined
    return { append: { ...batch, records, section } }
  }

  /** Every record has an id of its own; now and then one is a duplicate, and not part of the log. */
  #section(records: number): Uint8Array {
    const bitmap = new Uint8Array(Math.ceil(records / 8))
    for (let i = 0; i < records; i++) setBit(bitmap, i)
    const hashes = Buffer.from(Array.from({ length: records }, () => this.#id()).join(''), 'hex')
    const omitted = new Uint8Array(bitmap.length)
    setBit(omitted, this.#random.below(records))
    return writeSection({ ids: { bitmap, hashes }, omitted: this.#random.chance(0.3) ? omitted : undefined })
  }

  #chunks(): Step | undefined {
    const partition = this.#partition()
    if (partition === undefined) return undefined
    const { topicId, startOffset, sealedEnd, endOffset, tail } = partition
    if (this.#random.chance(0.5)) {
      const to = startOffset + this.#random.below(endOffset - startOffset + 1)
      if (to === startOffset) return undefined
      return { command: startMove(partition, { startOffset: to, reason: 'acked', requestId: null }) }
    }
    if (sealedEnd === endOffset) return undefined
    const entry = tail.at(tail.indexOf(sealedEnd) + this.#random.below(3)) ?? tail.at(tail.length - 1)
    const chunkId = this.#ids++
    const section = {
      baseOffset: sealedEnd,
      endOffset: entry?.endOffset ?? endOffset,
      byteStart: 64,
      byteEnd: 128,
      indexStart: 128,
      indexBytes: 16,
      recordCount: 1,
      minAppendTime: this.#time,
      maxAppendTime: this.#time,
      digest: this.#id(),
    }
    const rows = [{ topicId, partition: partition.partition, chunkId, section }]
    return { command: { type: 'chunkSealed', chunkId, rows } }
  }

  #group(): Step | undefined {
    const { groups, nextGroupId: groupId } = this.decided
    if (groups.size >= 4 && this.#random.chance(0.2)) {
      const group = this.#random.pick([...groups.values()])
      return { command: { type: 'groupDeleted', groupId: group.groupId, requestId: this.#requestId() } }
    }
    if (groups.size >= 6) return undefined
    const isQueue = this.#random.chance(0.5)
    const queue = isQueue ? { leaseMs: 1_000, maxDeliveries: 3 } : null
    const named = { groupId, name: `group-${groupId}`, requestId: null, queue }
    return { command: { type: 'groupCreated', kind: isQueue ? 'queue' : 'consumer', ...named } }
  }

  #groupOf(kind: GroupState['kind']): GroupState | undefined {
    const groups = [...this.decided.groups.values()].filter((group) => group.kind === kind)
    return groups.length === 0 ? undefined : this.#random.pick(groups)
  }

  #cursors(): Step | undefined {
    const group = this.#groupOf(this.#random.chance(0.8) ? 'consumer' : 'queue')
    const partition = this.#partition()
    if (group === undefined || partition === undefined) return undefined
    const { groupId } = group
    const epoch = group.epoch + 1
    const { topicId, startOffset, endOffset } = partition
    const at = { topicId, partition: partition.partition }
    const offset = startOffset + this.#random.below(endOffset - startOffset + 1)
    const reset = { type: 'cursorsReset', groupId, epoch, moves: [{ ...at, offset }] } as const
    const deleted = { type: 'cursorsDeleted', groupId, partitions: [at], reason: 'asked' } as const
    const rare: Command[] = [{ ...reset, requestId: this.#requestId() }, deleted]
    if (group.kind === 'queue' || this.#random.chance(0.1)) return { command: this.#random.pick(rare) }
    const cursor = [...group.cursors.values()].find((each) => each.topicId === topicId)
    if (cursor !== undefined && this.#random.chance(0.7)) {
      const { endOffset: end } = this.decided.partition(topicId, cursor.partition) as PartitionState
      const moved = cursor.offset + this.#random.below(end - cursor.offset + 1)
      const moves = [{ topicId, partition: cursor.partition, offset: moved }]
      return { command: { type: 'cursorsMoved', groupId, moves } }
    }
    const memberId = this.#random.chance(0.8) ? memberIdFrom('ab'.repeat(16)) : null
    const newCursor = group.cursors.has(`${topicId}/${at.partition}`) ? null : offset
    return { command: { type: 'groupAssigned', groupId, epoch, moves: [{ ...at, memberId, newCursor }] } }
  }

  /** Anything may be named: a queue takes what fits and leaves the rest. */
  #queue(): Step | undefined {
    const group = this.#groupOf('queue')
    const partition = this.#partition()
    if (group === undefined || partition === undefined) return undefined
    const { topicId, startOffset, endOffset } = partition
    const queue = group.queues.get(`${topicId}/${partition.partition}`)
    const frontier = queue?.frontier ?? startOffset
    const to = frontier + this.#random.below(endOffset - frontier + 1)
    const range = (): { from: number; to: number } => {
      const from = startOffset + this.#random.below(Math.max(1, to - startOffset))
      return { from, to: from + 1 + this.#random.below(4) }
    }
    const leaseId = queue?.nextLeaseId ?? 1
    const deadline = this.#time + 1_000
    const some = <T>(make: () => T): T[] => (this.#random.chance(0.4) ? [make()] : [])
    const memberId = memberIdFrom('cd'.repeat(16))
    return {
      command: {
        type: 'queueMoved',
        groupId: group.groupId,
        topicId,
        partition: partition.partition,
        floor0: startOffset,
        frontier: to,
        nextLeaseId: leaseId + 1,
        claims: to > frontier ? [{ leaseId, memberId, deadline, ranges: [{ from: frontier, to }] }] : [],
        acked: some(range),
        returned: some(() => ({ ...range(), visibleAt: deadline, counted: this.#random.chance(0.5) })),
        extended: some(() => ({ ...range(), deadline })),
        reason: 0,
      },
    }
  }

  #producers(): Step | undefined {
    const names = [...this.decided.producerNames.keys()]
    if (names.length > 3 && this.#random.chance(0.4))
      return { command: { type: 'producerNamesExpired', names: names.slice(0, 2) } }
    const partition = this.#partition()
    const window = partition?.producers.values().next().value
    if (window !== undefined && this.#random.chance(0.3)) {
      const { producerId, topicId, partition: number } = window
      return { command: { type: 'producersExpired', windows: [{ producerId, topicId, partition: number }] } }
    }
    const producerId = this.decided.nextProducerId
    const registered = {
      type: 'producerRegistered',
      name: `p${producerId % 7}`,
      producerId,
      producerEpoch: 0,
    } as const
    if (names.includes(registered.name)) return undefined
    return { command: { ...registered, requestId: this.#requestId() } }
  }
}

function throughTheWal(command: Command): Command {
  const encoded = encodeCommand(command, 0)
  const body = Buffer.alloc(encoded.byteLength)
  encoded.writeBody(body, 0)
  return decodeCommand(encoded.opcode, body)
}
