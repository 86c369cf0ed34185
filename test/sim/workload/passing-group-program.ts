import type { GroupBatch, ReadRecordOf } from '../../../client/index.js'
import type { Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { nameOf } from './payload.js'
import { assertPossible, recorded } from './recorded-writes.js'
import { ensureTopic, isPassing, persistently, type WorkTopic } from './topics.js'

type Batch = GroupBatch<ReadRecordOf<WorkTopic['topic']>>

/** What ends a visit and is nobody's fault. */
const ENDS = new Set(['FENCED', 'ALREADY_ACKED', 'OFFSET_OUT_OF_RANGE', 'UNKNOWN_GROUP', 'GROUP_ACTIVE'])

/** Makes consumer groups, reads a little as their only member, and deletes them: none is used again. */
export async function passThrough(lab: Lab, process: ClientProcess, topic: WorkTopic): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  for (let round = 0; !process.isEnding; round++) {
    const group = `${process.name}-${round}`.replaceAll('.', '-')
    await guarded(process, () => visit(lab, process, { topic, group }))
    if (process.isEnding || random.chance(0.2)) continue
    await guarded(process, () => deleteGroup(lab, process, group))
    await process.sleep(1 + random.below(30))
  }
}

async function guarded(process: ClientProcess, act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (process.isEnding) return
    if (isPassing(error) || ENDS.has((error as { code?: string }).code ?? '')) return
    assertPossible(error)
    throw error
  }
}

async function visit(
  lab: Lab,
  process: ClientProcess,
  { topic, group }: { topic: WorkTopic; group: string },
): Promise<void> {
  const { client, random } = process
  const due = new Map<string, number>()
  const consumer = client.consume(topic.topic, {
    group,
    ifNoCursor: 'earliest',
    sessionTimeoutMs: 1_000,
    signal: process.ending,
  })
  for await (const batch of consumer.batches()) {
    const at = given(lab, process, { topic, group, batch, due })
    const outcome = await recorded(lab.history, { type: 'ack', ...at }, () => batch.acked())
    if ('error' in outcome) throw outcome.error
    if (random.chance(0.4)) return
  }
}

function given(
  { history }: Lab,
  { tap }: ClientProcess,
  { topic, group, batch, due }: { topic: WorkTopic; group: string; batch: Batch; due: Map<string, number> },
) {
  const { partition, nextOffset, records } = batch
  const member = tap.memberOf(group)
  const assignment = tap.assignmentOf(member, topic.name, partition)
  const key = `${member}/${partition}/${assignment?.epoch}`
  const from = due.get(key) ?? assignment?.cursor ?? records[0]?.offset ?? nextOffset
  due.set(key, nextOffset)
  const at = { group, member, topicId: topic.name, partition, generation: assignment?.epoch }
  const seen = records.map(({ offset, value }): Seen => [offset, nameOf(value)])
  history.record({ type: 'given', ...at, from, next: nextOffset, records: seen })
  return { ...at, offset: nextOffset }
}

/** Its member has left, or is away for a moment longer: then it is refused. */
async function deleteGroup({ history }: Lab, process: ClientProcess, group: string): Promise<void> {
  const { client } = process
  history.record({ type: 'groupGone', group })
  await client.groups.delete(group)
  const isThere = await persistently(process, async () => {
    try {
      await client.groups.describe(group)
      return true
    } catch (error) {
      if ((error as { code?: string }).code !== 'UNKNOWN_GROUP') throw error
      return false
    }
  })
  if (isThere) throw new Error(`group "${group}" was deleted and is there`)
}
