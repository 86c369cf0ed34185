import type { CursorAck } from '../history.js'
import type { ModelPartition } from './model-partition.js'
import type { ModelWorld } from './model-world.js'

interface Cursor {
  readonly log: ModelPartition
  owner: string | undefined
  generation: number
  /** What its owner reads next. */
  position: number
  offset: number
}

const GROUP = 'copiers'

/** A consumer group that copies orders to outputs in atomic writes, or only acknowledges them. */
export class ModelGroup {
  readonly #world: ModelWorld
  readonly #cursors: readonly Cursor[]
  #generation = 0

  constructor(world: ModelWorld) {
    this.#world = world
    this.#cursors = world.partitions.orders.map((log) => ({
      log,
      owner: undefined,
      generation: 0,
      position: 0,
      offset: 0,
    }))
  }

  assign(cursor = this.#world.random.pick(this.#cursors)): void {
    const { random, recorder } = this.#world
    const isNew = cursor.owner !== undefined
    cursor.owner = random.pick(['m1', 'm2'])
    cursor.generation = ++this.#generation
    cursor.position = cursor.offset
    recorder.record({
      type: 'assigned',
      ...this.#of(cursor),
      cursor: cursor.offset,
      since: isNew ? recorder.next : 0,
    })
  }

  work(): void {
    const { random, recorder } = this.#world
    const cursor = random.pick(this.#cursors)
    if (cursor.owner === undefined) this.assign(cursor)
    const { log, position: from } = cursor
    const next = Math.min(log.end, from + 1 + random.below(6))
    if (next === from) return
    cursor.position = next
    recorder.record({ type: 'given', ...this.#of(cursor), from, next, records: log.read(from, next) })
    if (random.chance(0.4)) this.#copy(cursor)
    else if (random.chance(0.7)) this.#acknowledge(cursor)
  }

  /** Somebody who lost the partition speaks too late. */
  speakLate(): void {
    const { random, recorder } = this.#world
    const cursor = random.pick(this.#cursors)
    if (cursor.generation === 0) return
    const op = recorder.op()
    const member = cursor.owner === 'm1' ? 'm2' : 'm1'
    const offset = cursor.log.end
    recorder.record({
      type: 'ack',
      op,
      ...this.#of(cursor),
      member,
      generation: cursor.generation - 1,
      offset,
    })
    recorder.record({ type: 'refused', op, code: 'FENCED' })
  }

  #acknowledge(cursor: Cursor): void {
    const { random, recorder } = this.#world
    const op = recorder.op()
    const offset = cursor.position
    recorder.record({ type: 'ack', op, ...this.#of(cursor), offset })
    if (random.chance(0.9)) {
      cursor.offset = offset
      recorder.record({ type: 'done', op })
    } else {
      if (random.chance(0.5)) cursor.offset = offset
      recorder.record({ type: 'unknown', op })
    }
  }

  #copy(cursor: Cursor): void {
    const { random, recorder, partitions } = this.#world
    const records = partitions.outputs.map((log) => ({ ...log.place, value: this.#world.value('copy') }))
    const acks: CursorAck[] = [{ kind: 'cursor', ...this.#of(cursor), offset: cursor.position }]
    for (;;) {
      const op = recorder.op()
      recorder.record({ type: 'write', op, process: String(cursor.owner), records, atomic: true, acks })
      if (random.chance(0.1)) {
        recorder.record({ type: 'unknown', op })
        continue
      }
      const places = partitions.outputs.map(
        (log, i) => log.append([{ value: records[i]?.value ?? '' }], new Map())[0],
      )
      cursor.offset = cursor.position
      if (random.chance(0.9))
        recorder.record({ type: 'written', op, places: places.filter((place) => place !== undefined) })
      else recorder.record({ type: 'unknown', op })
      return
    }
  }

  /** Deletes what the group is past. */
  truncate(): void {
    const { log, offset, owner } = this.#world.random.pick(this.#cursors)
    if (owner !== undefined) log.start = this.#world.random.pick([log.start, offset])
  }

  observe(): void {
    for (const { log, offset, owner } of this.#cursors)
      if (owner !== undefined)
        this.#world.recorder.record({ type: 'cursor', group: GROUP, ...log.place, offset })
  }

  #of({ log, owner, generation }: Cursor) {
    return { group: GROUP, member: owner ?? '', generation, ...log.place }
  }
}
