/** The load of one figure, in a process of its own: argv holds a LoadRequest as JSON, stdout gets a LoadResult as JSON. */
import { connect, defineTopic, text } from '../../client/index.js'
import { correlationIdOf, ProduceFrames } from './produce-frames.js'
import { RawConnection } from './raw-connection.js'

export interface LoadRequest {
  readonly kind: 'frames' | 'lone' | 'sdk send' | 'sdk sendBatch'
  readonly url: string
  /** Whether the server speaks the whole protocol (the floor only acknowledges). */
  readonly isBroker: boolean
  readonly batchBytes: number
  readonly recordBytes: number
  readonly inFlight: number
  readonly warmupMs: number
  readonly ms: number
}

export interface LoadResult {
  readonly megabytesPerSecond: number
  readonly recordsPerSecond: number
  /** Milliseconds; of single sends only. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly bytes: number
}

const nothing: LoadResult = { megabytesPerSecond: 0, recordsPerSecond: 0, p50Ms: 0, p99Ms: 0, bytes: 0 }

async function framesFor(request: LoadRequest) {
  const connection = await RawConnection.open(request.url)
  let topicId = '0'.repeat(32) as Awaited<ReturnType<typeof connection.createTopic>>
  if (request.isBroker) {
    await connection.hello()
    topicId = await connection.createTopic(`bench-${request.kind.replace(' ', '-')}`)
  }
  const { batchBytes, recordBytes } = request
  return { connection, frames: new ProduceFrames({ topicId, batchBytes, recordBytes }) }
}

/** As many frames as the server takes. */
async function saturate(request: LoadRequest): Promise<LoadResult> {
  const { connection, frames } = await framesFor(request)
  const { acknowledged, elapsedMs } = await connection.saturate({
    inFlight: request.inFlight,
    frame: (index) => frames.next(correlationIdOf(index)),
    warmupMs: request.warmupMs,
    isOver: (ms) => ms >= request.ms,
  })
  connection.close()
  const bytes = acknowledged * frames.batchBytes
  const seconds = elapsedMs / 1000
  return {
    ...nothing,
    bytes,
    megabytesPerSecond: bytes / 1e6 / seconds,
    recordsPerSecond: (acknowledged * frames.recordsPerBatch) / seconds,
  }
}

/** One small frame at a time, each awaited. */
async function lone(request: LoadRequest): Promise<LoadResult> {
  const { connection, frames } = await framesFor(request)
  const latencies: number[] = []
  let sentMs = 0
  let isOver = false
  await new Promise<void>((resolve) => {
    const startedMs = performance.now()
    const sendNext = (): void => {
      sentMs = performance.now()
      connection.send(frames.next(correlationIdOf(latencies.length)))
    }
    connection.onFrame(() => {
      const now = performance.now()
      if (now - startedMs > request.warmupMs) latencies.push(now - sentMs)
      isOver = now - startedMs > request.warmupMs + request.ms
      if (isOver) resolve()
      // Not at once: a user who sends now and then meets the stream at any point of its cycle.
      else setTimeout(sendNext, Math.random() * 4)
    })
    sendNext()
  })
  connection.close()
  latencies.sort((a, b) => a - b)
  const at = (fraction: number): number => latencies[Math.floor(latencies.length * fraction)] ?? 0
  return { ...nothing, p50Ms: at(0.5), p99Ms: at(0.99) }
}

const Records = defineTopic({ name: 'bench-sdk', key: text(), value: text() })

/** Records through the client with its default settings. */
async function sdk(request: LoadRequest): Promise<LoadResult> {
  const client = connect(request.url)
  await client.ensureTopic(Records, { partitions: 1 })
  const producer = client.producer(Records)
  const value = 'x'.repeat(request.recordBytes)
  const batch = Array.from({ length: 1_000 }, () => ({ value }))
  let acknowledged = 0
  const run = async (untilMs: number): Promise<void> => {
    while (performance.now() < untilMs) {
      if (request.kind === 'sdk send') await Promise.all(batch.map((record) => producer.send(record)))
      else await producer.sendBatch(batch)
      acknowledged += batch.length
    }
  }
  const runAll = (untilMs: number): Promise<unknown> =>
    Promise.all(Array.from({ length: request.inFlight }, () => run(untilMs)))
  await runAll(performance.now() + request.warmupMs)
  acknowledged = 0
  const startedMs = performance.now()
  await runAll(startedMs + request.ms)
  const seconds = (performance.now() - startedMs) / 1000
  await client.close()
  const bytes = acknowledged * request.recordBytes
  return {
    ...nothing,
    bytes,
    recordsPerSecond: acknowledged / seconds,
    megabytesPerSecond: bytes / 1e6 / seconds,
  }
}

const request = JSON.parse(process.argv[2] ?? '{}') as LoadRequest
const run = { frames: saturate, lone, 'sdk send': sdk, 'sdk sendBatch': sdk }[request.kind]
process.stdout.write(`${JSON.stringify(await run(request))}\n`, () => process.exit(0))
