import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { median } from '../series.js'

const WARMUP = 5_000
const MEASURED = 20_000

export interface HandedOver {
  /** From the hand-over of a batch to its answer. */
  readonly microseconds: number
  /** Of both threads. */
  readonly cpuMicroseconds: number
}

/** Gives batches to a thread that answers each with a small message and the batch's memory: nothing is copied. */
export async function handOver({
  bytes,
  inFlight,
}: {
  bytes: number
  inFlight: number
}): Promise<HandedOver> {
  const thread = new Worker(fileURLToPath(import.meta.url))
  await once(thread, 'message')
  const trips: number[] = []
  const begunMs: number[] = []
  let cpu = process.cpuUsage()
  const send = (memory: ArrayBuffer): void => {
    begunMs.push(performance.now())
    thread.postMessage(memory, [memory])
  }
  await new Promise<void>((done) => {
    let answers = 0
    thread.on('message', ({ memory }: { memory: ArrayBuffer }) => {
      const began = begunMs.shift() as number
      if (++answers > WARMUP) trips.push(performance.now() - began)
      if (answers === WARMUP) cpu = process.cpuUsage()
      if (trips.length === MEASURED) done()
      else send(memory)
    })
    for (let i = 0; i < inFlight; i++) send(new ArrayBuffer(bytes))
  })
  const { user, system } = process.cpuUsage(cpu)
  await thread.terminate()
  return { microseconds: 1_000 * median(trips), cpuMicroseconds: (user + system) / MEASURED }
}

if (!isMainThread) {
  let offset = 0
  parentPort?.on('message', (memory: ArrayBuffer) => {
    parentPort?.postMessage({ offset: offset++, memory }, [memory])
  })
  parentPort?.postMessage('ready')
}
