import { bitAt, bitmapBytes, setBit } from '../../protocol/entry-section.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { hexFromBytes } from '../../protocol/ids.js'
import {
  type Atomic,
  atomicDone,
  type DuplicateRecord,
  type ProduceChecked,
  producedChecked,
} from '../../protocol/messages/index.js'
import type { ScriptedBroker, ScriptedTopic } from './scripted-broker.js'

type Conditional = Pick<ProduceChecked, 'recordCount' | 'partition' | 'expectedOffset' | 'idBitmap' | 'ids'>

/** Teaches a scripted broker PRODUCE_CHECKED and ATOMIC: dedup ids for ever, expected offsets, the first answer on a retry. */
export class ScriptedConditions {
  readonly #broker: ScriptedBroker
  readonly #places = new Map<string, { partition: number; offset: number }>()
  readonly atomics: Atomic[] = []
  /** Called before an atomic write is done; may refuse it. */
  onAtomic: (atomic: Atomic) => void = () => {}

  constructor(broker: ScriptedBroker) {
    this.#broker = broker
    broker.handlers.set('PRODUCE_CHECKED', (fields) => this.#produce(fields as unknown as ProduceChecked))
    broker.handlers.set('ATOMIC', (fields) => this.#atomic(fields as unknown as Atomic))
  }

  #produce(fields: ProduceChecked): unknown[] {
    const { correlationId, expectedOffset, ...batch } = fields
    const topic = this.#broker.topicById(fields.topicId)
    this.#broker.assertNotFenced(fields.producerId, fields.producerEpoch)
    const { ack, duplicates } = this.#append(topic, fields, () => ({ ...batch, correlationId }))
    return producedChecked.write({ correlationId, ...ack, duplicates })
  }

  #atomic(fields: Atomic): unknown[] {
    const { correlationId, requestId } = fields
    let isRetry = true
    const [answer] = this.#broker.once(requestId, () => {
      isRetry = false
      this.atomics.push(fields)
      this.onAtomic(fields)
      for (const write of fields.writes) this.#assertExpected(this.#broker.topicById(write.topicId), write)
      const writes = fields.writes.map((write) => {
        const topic = this.#broker.topicById(write.topicId)
        const producer = { correlationId, producerId: null, producerEpoch: 0, baseSequence: 0 }
        const { ack, duplicates } = this.#append(topic, write, () => ({ ...write, ...producer }))
        return { partition: write.partition, baseOffset: ack.baseOffset, duplicates }
      })
      return [{ appendTime: Date.now(), writes }]
    }) as [
      {
        appendTime: number
        writes: { partition: number; baseOffset: number; duplicates: DuplicateRecord[] }[]
      },
    ]
    return atomicDone.write({ correlationId, ...answer, retried: isRetry })
  }

  #append(
    topic: ScriptedTopic,
    batch: Conditional,
    produce: () => Omit<ProduceChecked, 'expectedOffset' | 'idBitmap' | 'ids'>,
  ) {
    const log = topic.logs[batch.partition]
    if (log === undefined) throw new MillraceError('UNKNOWN_PARTITION')
    const { payload, ...fields } = produce()
    const ack = log.append({ ...fields, payload: payload.slice() }, Date.now(), () => {
      this.#assertExpected(topic, batch)
      return this.#omitted(topic, batch, log.end)
    })
    if (!ack.duplicate) queueMicrotask(() => this.#broker.appended(log))
    return { ack, duplicates: this.#duplicates(topic, batch, ack.baseOffset) }
  }

  #assertExpected(topic: ScriptedTopic, { partition, expectedOffset }: Conditional): void {
    const actualOffset = topic.logs[partition]?.end ?? 0
    if (expectedOffset === null || expectedOffset === actualOffset) return
    throw new MillraceError('EXPECTED_OFFSET_CONFLICT', { details: { expectedOffset, actualOffset } })
  }

  #omitted(topic: ScriptedTopic, batch: Conditional, baseOffset: number): Uint8Array | undefined {
    const omitted = new Uint8Array(bitmapBytes(batch.recordCount))
    let isAny = false
    for (const { index, key } of idsOf(topic, batch)) {
      if (this.#places.has(key)) {
        setBit(omitted, index)
        isAny = true
      } else this.#places.set(key, { partition: batch.partition, offset: baseOffset + index })
    }
    return isAny ? omitted : undefined
  }

  #duplicates(topic: ScriptedTopic, batch: Conditional, baseOffset: number): DuplicateRecord[] {
    return idsOf(topic, batch).flatMap(({ index, key }) => {
      const place = this.#places.get(key)
      if (place === undefined) return []
      const isOwn = place.partition === batch.partition && place.offset === baseOffset + index
      return isOwn ? [] : [{ index, ...place }]
    })
  }
}

function idsOf(topic: ScriptedTopic, { recordCount, idBitmap, ids }: Conditional) {
  const found: { index: number; key: string }[] = []
  if (idBitmap === null || ids === null) return found
  for (let index = 0; index < recordCount; index++) {
    if (!bitAt(idBitmap, index)) continue
    found.push({ index, key: `${topic.topicId}/${hexFromBytes(ids, found.length * 16)}` })
  }
  return found
}
