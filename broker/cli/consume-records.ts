import type { Client, TopicDetails } from '../../client/index.js'
import type { Position } from './arguments.js'
import { consumeInGroup } from './consume-group.js'
import type { GlobalOptions } from './global-options.js'
import { Output } from './output.js'
import { type FormatOptions, formatOf } from './record-format.js'
import { withClient } from './session.js'
import { topicAs } from './topic-face.js'

export interface ConsumeOptions extends GlobalOptions, FormatOptions {
  readonly from?: Position
  readonly offset?: number
  readonly partition?: number
  readonly group?: string
  readonly exitAtEnd?: boolean
  readonly count?: number
}

/** `millrace consume`: a topic's records to standard output. */
export async function consumeRecords(name: string, options: ConsumeOptions): Promise<void> {
  const stop = new AbortController()
  const output = new Output()
  output.failure.catch((error) => stop.abort(error))
  const interrupt = () => stop.abort()
  process.once('SIGINT', interrupt)
  try {
    const work = async (client: Client): Promise<void> => {
      const info = await client.describeTopic(name, { signal: stop.signal })
      const printing = { info, options, output, signal: stop.signal }
      if (options.group === undefined) await print(client, printing)
      else await consumeInGroup(client, { ...printing, group: options.group })
    }
    await withClient(options, work, { tellsOutages: true })
  } catch (error) {
    // Being stopped is no failure, unless it was the output that failed.
    if (!stop.signal.aborted) throw error
  } finally {
    process.off('SIGINT', interrupt)
  }
  await output.flush()
}

interface Printing {
  readonly info: TopicDetails
  readonly options: ConsumeOptions
  readonly output: Output
  readonly signal: AbortSignal
}

async function print(client: Client, { info, options, output, signal }: Printing): Promise<void> {
  const format = formatOf(info, options)
  let left = options.count ?? Number.POSITIVE_INFINITY
  const { from = 'earliest', partition, offset } = options
  const reader = client.readBatches(await topicAs(info), {
    from: partition === undefined || offset === undefined ? from : { [partition]: offset },
    ...(partition === undefined ? {} : { partitions: [partition] }),
    ...(options.exitAtEnd ? { to: 'end' } : {}),
    signal,
  })
  for await (const { records } of reader) {
    const wanted = records.length > left ? records.slice(0, left) : records
    await output.write(format(wanted))
    left -= wanted.length
    if (left <= 0) return
  }
}
