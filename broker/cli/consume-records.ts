import type { Client, TopicDetails } from '../../client/index.js'
import type { GlobalOptions } from './global-options.js'
import { printable, recordAsJson, type TravelledRecord } from './json-output.js'
import { Output } from './output.js'
import { withClient } from './session.js'
import { topicAs } from './topic-face.js'

export interface ConsumeOptions extends GlobalOptions {
  readonly from?: 'earliest' | 'latest' | Date
  readonly offset?: number
  readonly partition?: number
  readonly exitAtEnd?: boolean
  readonly count?: number
  readonly json?: boolean
  readonly keySeparator?: string
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
      await print(client, { info, options, output, signal: stop.signal })
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

type Format = (records: readonly TravelledRecord[]) => string | Uint8Array

/** How a batch is printed: as one piece, because a write for each value would cost more than all the rest. */
function formatOf(info: TopicDetails, { json, keySeparator }: ConsumeOptions): Format {
  const { keyEncoding, valueEncoding } = info
  if (json) return lines((record) => recordAsJson(record, info))
  const value = (record: TravelledRecord) => printable(record.value, valueEncoding)
  if (keySeparator === undefined)
    return valueEncoding === 'bytes'
      ? byteLines((record) => [value(record)])
      : lines(value as (record: TravelledRecord) => string)
  return byteLines((record) => [printable(record.key, keyEncoding), keySeparator, value(record)])
}

function lines(text: (record: TravelledRecord) => string): Format {
  return (records) => {
    let joined = ''
    for (const record of records) joined += `${text(record)}\n`
    return joined
  }
}

const NEWLINE = Buffer.from('\n')

function byteLines(parts: (record: TravelledRecord) => (string | Uint8Array)[]): Format {
  return (records) => {
    const pieces: Uint8Array[] = []
    for (const record of records) {
      for (const part of parts(record)) pieces.push(typeof part === 'string' ? Buffer.from(part) : part)
      pieces.push(NEWLINE)
    }
    return Buffer.concat(pieces)
  }
}
