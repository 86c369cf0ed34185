import type { Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { Lab } from '../lab.js'
import { nameOf, whatOf } from './payload.js'
import { readToItsEnd } from './stream-reader-program.js'
import type { StreamShelf } from './streams.js'
import { persistently, type WorkTopic } from './topics.js'

/** Reads every topic and stream from start to end, as the last word on what the log holds. */
export async function readEverything(
  lab: Lab,
  { topics, shelf }: { topics: readonly WorkTopic[]; shelf: StreamShelf },
): Promise<void> {
  const process = lab.newProcess('last reader')
  const link = lab.serveHttp?.()(process)
  if (link !== undefined && shelf.streams.length > 0)
    process.run(async () => {
      for (const stream of shelf.streams) await readToItsEnd(lab, process, { stream, link })
    })
  for (const topic of topics) {
    process.run(async () => {
      if (topic.gone === 'surely') await assertGone(process, topic)
      if (topic.gone !== 'no') return
      if (topic.isBrokers && !(await isThere(process, topic))) return
      const once = new Map<string, string>()
      for (let partition = 0; partition < topic.partitions; partition++) {
        const records = await readPartition(lab, process, topic, partition)
        for (const [, name] of records) assertOnce(once, name, topic.isBrokers ? name : whatOf(name))
      }
    })
  }
  await process.over
}

async function readPartition(
  lab: Lab,
  process: ClientProcess,
  work: WorkTopic,
  partition: number,
): Promise<readonly Seen[]> {
  const { history } = lab
  const { name, topic } = work
  const { client } = process
  const details = await persistently(process, () => client.describeTopic(topic))
  const bounds = details?.partitions[partition]
  if (bounds === undefined) return []
  const { startOffset, endOffset } = bounds
  const records: Seen[] = []
  try {
    const reading = client.read(topic, { from: { [partition]: startOffset }, to: { [partition]: endOffset } })
    for await (const { offset, value } of reading)
      records.push([offset, work.isBrokers && value === null ? `unreadable ${offset}` : nameOf(value)])
  } catch (error) {
    // What every group has acknowledged goes, also now.
    if ((error as { code?: string }).code !== 'OFFSET_OUT_OF_RANGE') throw error
    return await readPartition(lab, process, work, partition)
  }
  // What it copies there stands in the order of the failures, of which clients do not hear.
  if (!work.isBrokers)
    history.record({ type: 'log', topicId: name, partition, startOffset, endOffset, records })
  return records
}

/** Of several attempts at one thing one has succeeded, at most. */
function assertOnce(once: Map<string, string>, name: string, what: string | undefined): void {
  if (what === undefined) return
  const before = once.get(what)
  if (before !== undefined) throw new Error(`${what} was done twice, as ${before} and as ${name}`)
  once.set(what, name)
}

/** What was answered as deleted is deleted. */
async function assertGone(process: ClientProcess, topic: WorkTopic): Promise<void> {
  if (await isThere(process, topic)) throw new Error(`topic "${topic.name}" was deleted and is there`)
}

async function isThere(process: ClientProcess, { topic }: WorkTopic): Promise<boolean> {
  try {
    await persistently(process, () => process.client.describeTopic(topic))
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'UNKNOWN_TOPIC') return false
    throw error
  }
}
