import { connect, defineTopic, text } from '../../../client/index.js'
import { watchMemory } from '../process-memory.js'
import type { Stage } from './stage.js'

export interface StoppedBrokerRequest {
  readonly url: string
  readonly sends: number
  readonly deliveryTimeoutMs: number
}

const Records = defineTopic({ name: 'bench-stopped', key: text(), value: text() })
const MAX_BUFFER_BYTES = 32 * 1024 * 1024
/** Sends between two turns of the event loop: without any, what grows is the program's own list of promises. */
const BURST = 10_000

/** Sends that nobody awaits while there is no broker. Stage: `connected`, at which the parent stops it. */
export async function stoppedBroker(request: StoppedBrokerRequest, stage: Stage) {
  const client = connect(request.url)
  await client.ensureTopic(Records, { partitions: 1 })
  const { deliveryTimeoutMs } = request
  const producer = client.producer(Records, { maxBufferBytes: MAX_BUFFER_BYTES, deliveryTimeoutMs })
  await producer.send({ value: 'first' })
  await stage('connected')
  const memory = watchMemory(process.pid)
  const value = 'x'.repeat(100)
  let settled = 0
  let bufferedMax = 0
  const count = (): void => {
    settled++
  }
  for (let sent = 0; sent < request.sends; ) {
    const end = Math.min(sent + BURST, request.sends)
    for (; sent < end; sent++) producer.send({ value }).then(count, count)
    bufferedMax = Math.max(bufferedMax, producer.bufferedBytes)
    await new Promise((resolve) => setImmediate(resolve))
  }
  // What was accepted settles when its time is over.
  const deadlineMs = performance.now() + deliveryTimeoutMs + 10_000
  while (settled < request.sends && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const { anonymousBytes } = await memory.stop()
  return {
    settledShare: settled / request.sends,
    bufferedShare: bufferedMax / MAX_BUFFER_BYTES,
    anonymousBytes,
  }
}
