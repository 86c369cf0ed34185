/** One load, in a process of its own: argv names it and holds its request as JSON; the answer goes to the parent. */
import { once } from 'node:events'
import { fanOut } from './loads/fan-out.js'
import { fill } from './loads/fill.js'
import { frames } from './loads/frames.js'
import { idle } from './loads/idle.js'
import { lone } from './loads/lone.js'
import { loneSends } from './loads/lone-sends.js'
import { manyTopics } from './loads/many-topics.js'
import { openLoop } from './loads/open-loop.js'
import { queue } from './loads/queue.js'
import { sdkConsume } from './loads/sdk-consume.js'
import { sdkProduce } from './loads/sdk-produce.js'
import type { LoadMessage } from './loads/stage.js'
import { stoppedBroker } from './loads/stopped-broker.js'
import { stoppedReader } from './loads/stopped-reader.js'

const LOADS = {
  fanOut,
  fill,
  frames,
  idle,
  lone,
  loneSends,
  manyTopics,
  openLoop,
  queue,
  sdkConsume,
  sdkProduce,
  stoppedBroker,
  stoppedReader,
}
export type Loads = typeof LOADS

const tell = (message: LoadMessage): Promise<void> =>
  new Promise((resolve) => process.send?.(message, () => resolve()))

/** The parent looks at something meanwhile. */
async function stage(name: string): Promise<void> {
  const goesOn = once(process, 'message')
  await tell({ stage: name })
  await goesOn
}

const [kind, request = '{}'] = process.argv.slice(2)
const load = LOADS[kind as keyof Loads] as (request: unknown, at: typeof stage) => Promise<unknown>
try {
  // A message keeps no undefined.
  await tell({ answer: (await load(JSON.parse(request), stage)) ?? null })
} catch (error) {
  await tell({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
}
process.exit(0)
