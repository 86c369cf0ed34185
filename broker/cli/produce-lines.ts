import type { Client, TopicDetails } from '../../client/index.js'
import type { Encoding } from '../../protocol/encodings.js'
import { MillraceError } from '../../protocol/error-codes.js'
import { count } from './count.js'
import { CommandFailure, describeFailure, EXIT, exitCodeOf } from './failure.js'
import type { GlobalOptions } from './global-options.js'
import { LineFault, type LineFormat, recordsOf } from './line-records.js'
import { type LineBlock, lineBlocks, linesBefore } from './lines.js'
import { ProducePump } from './produce-pump.js'
import { Progress } from './progress.js'
import { withClient } from './session.js'
import { topicAs } from './topic-face.js'

/** A line beyond this is refused before it is held whole. What a record may be is for the broker to say. */
const lineBytesMax = 64 * 1024 * 1024

export interface ProduceOptions extends GlobalOptions {
  readonly partitions?: number
  readonly encoding?: Encoding
  readonly keySeparator?: string
  /** Milliseconds. */
  readonly timeout: number
}

/** `millrace produce`: standard input to a topic. */
export async function produceLines(name: string, options: ProduceOptions): Promise<void> {
  const work = async (client: Client): Promise<void> => {
    const startedAt = performance.now()
    const info = await topicFor(client, name, options)
    const producer = client.producer(await topicAs(info), { deliveryTimeoutMs: options.timeout })
    const input = process.stdin
    // Ends the reading at once, also where it waits for a line that may never come.
    const stop = (error: unknown) => input.destroy(error as Error)
    const interrupt = () => stop(new CommandFailure('interrupted', { exitCode: EXIT.interrupted }))
    process.once('SIGINT', interrupt)
    const pump = new ProducePump(producer, stop)
    const progress = new Progress(() => summary(pump, startedAt))
    try {
      const format = { ...info, keySeparator: options.keySeparator }
      await pumpBlocks(lineBlocks(input, { lineBytesMax }), { pump, progress, format })
      await producer.close()
    } catch (error) {
      progress.clear()
      const lines = pump.records === 1 ? 'line was' : 'lines were'
      const what = `${describeFailure(error)}; ${pump.records} ${lines} acknowledged`
      throw new CommandFailure(what, { cause: error, exitCode: exitCodeOf(error) })
    } finally {
      process.off('SIGINT', interrupt)
    }
    progress.clear()
    process.stderr.write(`${summary(pump, startedAt)}\n`)
  }
  await withClient(options, work, { tellsOutages: true })
}

/** The topic as it is, or as it is made now. Throws when it is other than the command line says. */
async function topicFor(client: Client, name: string, wanted: ProduceOptions): Promise<TopicDetails> {
  const existing = await topicIfAny(client, name, wanted)
  const info = existing ?? (await created(client, name, wanted))
  const differs = (is: string, asked: unknown) =>
    new CommandFailure(`topic ${name} has ${is}, not ${asked}: leave the option out, or use another topic`)
  if (wanted.encoding !== undefined && wanted.encoding !== info.valueEncoding) {
    throw differs(`encoding ${info.valueEncoding}`, wanted.encoding)
  }
  if (wanted.partitions !== undefined && wanted.partitions !== info.partitions.length) {
    throw differs(count(info.partitions.length, 'partition'), wanted.partitions)
  }
  return info
}

async function topicIfAny(
  client: Client,
  name: string,
  { timeout: timeoutMs }: ProduceOptions,
): Promise<TopicDetails | undefined> {
  try {
    return await client.describeTopic(name, { timeoutMs })
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'UNKNOWN_TOPIC') return undefined
    throw error
  }
}

async function created(client: Client, name: string, options: ProduceOptions): Promise<TopicDetails> {
  const { encoding = 'text', partitions = 1, timeout: timeoutMs } = options
  // Keys stand in the lines too, so bytes that are no text need keys that may be none.
  const keyEncoding = encoding === 'bytes' ? 'bytes' : 'text'
  try {
    const topic = await topicAs({ name, keyEncoding, valueEncoding: encoding })
    await client.createTopic(topic, { partitions, timeoutMs })
  } catch (error) {
    // Somebody was faster; what is there now is checked as if it always had been.
    if (!(error instanceof MillraceError && error.code === 'TOPIC_EXISTS')) throw error
  }
  return await client.describeTopic(name, { timeoutMs })
}

interface Pumping {
  readonly pump: ProducePump
  readonly progress: Progress
  readonly format: LineFormat
}

async function pumpBlocks(
  blocks: AsyncIterable<LineBlock>,
  { pump, progress, format }: Pumping,
): Promise<void> {
  try {
    for await (const block of blocks) {
      await pumpBlock(pump, block, format)
      progress.update()
    }
  } catch (error) {
    // What was read before the fault is written, so that the next run can begin at the line that was named.
    await pump.drain()
    throw error
  }
  const ticking = setInterval(() => progress.update(), 100)
  await pump.drain().finally(() => clearInterval(ticking))
}

async function pumpBlock(pump: ProducePump, block: LineBlock, format: LineFormat): Promise<void> {
  try {
    const { records, valueBytes } = recordsOf(block, format)
    await pump.send({ records, valueBytes, firstLine: block.firstLine })
  } catch (error) {
    const before = error instanceof LineFault ? linesBefore(block, error.line) : undefined
    if (before !== undefined) await pumpBlock(pump, before, format)
    throw error
  }
}

function summary(pump: ProducePump, startedAt: number): string {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(2)
  return `produced ${pump.records} records, ${pump.valueBytes} bytes in ${seconds} s`
}
