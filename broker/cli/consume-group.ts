import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, TopicDetails } from '../../client/index.js'
import { MillraceError } from '../../protocol/error-codes.js'
import type { Position } from './arguments.js'
import type { Output } from './output.js'
import { type FormatOptions, formatOf } from './record-format.js'
import { topicAs } from './topic-face.js'

/** How often the group is asked whether it has got to the end. */
const endPollMs = 200

/** Why consuming stops that went well. */
const REACHED = new Error('the group has got to the end')

interface GroupPrinting {
  readonly group: string
  readonly info: TopicDetails
  readonly options: FormatOptions & {
    readonly from?: Position
    readonly exitAtEnd?: boolean
    readonly count?: number
  }
  readonly output: Output
  readonly signal: AbortSignal
}

/** Prints what a member of a group is given, and acknowledges what has left the process. */
export async function consumeInGroup(client: Client, printing: GroupPrinting): Promise<void> {
  if (!printing.options.exitAtEnd) return await printBatches(client, printing)
  const stop = new AbortController()
  const signal = AbortSignal.any([printing.signal, stop.signal])
  const watching = watchEnd(client, { ...printing, signal }).then(
    () => stop.abort(REACHED),
    (error) => stop.abort(error),
  )
  try {
    await printBatches(client, { ...printing, signal })
  } catch (error) {
    if (error !== REACHED) throw error
  } finally {
    stop.abort(REACHED)
    await watching
  }
}

async function printBatches(
  client: Client,
  { group, info, options, output, signal }: GroupPrinting,
): Promise<void> {
  const format = formatOf(info, options)
  const ifNoCursor = options.from === 'latest' ? 'latest' : 'earliest'
  const consumer = client.consume(await topicAs(info), { group, ifNoCursor, signal })
  let left = options.count ?? Number.POSITIVE_INFINITY
  for await (const batch of consumer.batches()) {
    const isWhole = batch.records.length <= left
    const wanted = isWhole ? batch.records : batch.records.slice(0, left)
    await output.write(format(wanted))
    // What still waits in this process would be lost with it.
    await output.flush()
    if (isWhole) batch.ack()
    else wanted.at(-1)?.ack()
    left -= wanted.length
    if (left <= 0) return
  }
}

/** Resolves when the group has acknowledged all that the topic held at the call, whichever of its members did. */
async function watchEnd(client: Client, { group, info, signal }: GroupPrinting): Promise<void> {
  while (!(await hasPassed(client, { group, info, signal }))) await sleep(endPollMs, undefined, { signal })
}

async function hasPassed(
  client: Client,
  { group, info, signal }: Pick<GroupPrinting, 'group' | 'info' | 'signal'>,
): Promise<boolean> {
  try {
    const described = await client.groups.describe(group, { signal })
    const positions = new Map<number, number>()
    for (const { topic, partition, hasCursor, position } of described.partitions) {
      if (topic === info.name && hasCursor) positions.set(partition, position)
    }
    return info.partitions.every(({ partition, endOffset }) => (positions.get(partition) ?? -1) >= endOffset)
  } catch (error) {
    // The member's own joining makes the group, a moment from now.
    if (error instanceof MillraceError && error.code === 'UNKNOWN_GROUP') return false
    throw error
  }
}
