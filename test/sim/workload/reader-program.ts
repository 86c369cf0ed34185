import type { ReadOptions } from '../../../client/index.js'
import type { Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { nameOf } from './payload.js'
import { assertPossible } from './recorded-writes.js'
import { ensureTopic, isPassing, type WorkTopic } from './topics.js'

/** Reads a topic again and again, from its start or from its end, and goes on for a while where it got to. */
export async function read(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const from = random.pick(['earliest', 'earliest', 'latest'] as const)
    const leaveOdds = random.pick([0, 0.02, 0.2])
    try {
      await readOnce(lab, process, topic, {
        reader: `${process.name}/${round}`,
        options: { from, signal: process.ending, bufferBytes: random.pick([2_000, 100_000]) },
        isEnough: () => random.chance(leaveOdds),
      })
    } catch (error) {
      if (process.isEnding) return
      const { code } = error as { code?: string }
      // Deleted under its feet: it begins again.
      if (code !== 'OFFSET_OUT_OF_RANGE' && !isPassing(error)) {
        assertPossible(error)
        throw error
      }
    }
    await process.sleep(1 + random.below(20))
  }
}

interface Reading {
  readonly reader: string
  readonly options: ReadOptions
  readonly isEnough: () => boolean
}

async function readOnce(
  { history }: Lab,
  { client }: ClientProcess,
  { name, topic }: WorkTopic,
  { reader, options, isEnough }: Reading,
): Promise<void> {
  const due = new Map<number, number>()
  for await (const batch of client.readBatches(topic, options)) {
    const { partition, nextOffset } = batch
    const records = batch.records.map(({ offset, value }): Seen => [offset, nameOf(value)])
    const from = due.get(partition) ?? records[0]?.[0] ?? nextOffset
    history.record({ type: 'read', reader, topicId: name, partition, from, next: nextOffset, records })
    due.set(partition, nextOffset)
    if (isEnough()) return
  }
}
