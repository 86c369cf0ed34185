/** The figures, the same for every peer: they differ only in the client that does the work. */
import type { Latency } from './peer.js'
import type { PeerStream } from './peer-stream.js'

/** Batches are of this many records, and so many of them are in flight. */
const BATCH_RECORDS = 1_000
const BATCHES_IN_FLIGHT = 4
const LANES = 4

/** A promise per record; `inFlight` records are under way in four groups, each awaited as a whole. */
export async function produceEach(
  stream: PeerStream,
  { recordBytes, ms, inFlight }: { recordBytes: number; ms: number; inFlight: number },
): Promise<number> {
  const value = payload(recordBytes)
  const records = Math.ceil(inFlight / LANES)
  return await produce(stream, { ms, lanes: LANES }, async () => {
    await Promise.all(Array.from({ length: records }, () => stream.send(value)))
    return records
  })
}

export async function produceBatches(
  stream: PeerStream,
  { recordBytes, ms }: { recordBytes: number; ms: number },
): Promise<number> {
  const values = Array.from({ length: BATCH_RECORDS }, () => payload(recordBytes))
  return await produce(stream, { ms, lanes: BATCHES_IN_FLIGHT }, async () => {
    await sendBatch(stream, values)
    return values.length
  })
}

/** Every record is looked at. */
export async function consume(
  stream: PeerStream,
  { recordBytes, records }: { recordBytes: number; records: number },
): Promise<number> {
  await fill(stream, { recordBytes, records })
  let seen = 0
  let bytes = 0
  const startedMs = performance.now()
  await stream.read(records, (values) => {
    for (const value of values) {
      seen += 1
      bytes += value.length
    }
  })
  const elapsedMs = performance.now() - startedMs
  expectEqual('record read', seen, records)
  expectEqual('byte read', bytes, records * recordBytes)
  return perSecond(records, elapsedMs)
}

/** Batches are counted and not opened. */
export async function consumeBatches(
  stream: PeerStream,
  { recordBytes, records }: { recordBytes: number; records: number },
): Promise<number> {
  await fill(stream, { recordBytes, records })
  let seen = 0
  const startedMs = performance.now()
  await stream.read(records, (_values, count) => {
    seen += count
  })
  const elapsedMs = performance.now() - startedMs
  expectEqual('record read', seen, records)
  return perSecond(records, elapsedMs)
}

export async function loneSends(
  stream: PeerStream,
  { recordBytes, count }: { recordBytes: number; count: number },
): Promise<Latency> {
  const value = payload(recordBytes)
  const warmup = 3 * count
  const latencies: number[] = []
  for (let i = 0; i < warmup + count; i++) {
    const sentMs = performance.now()
    await stream.send(value)
    if (i >= warmup) latencies.push(performance.now() - sentMs)
  }
  expectEqual('acknowledged record stored', await stream.stored(), warmup + count)
  latencies.sort((a, b) => a - b)
  const at = (fraction: number): number => latencies[Math.floor(latencies.length * fraction)] ?? 0
  return { p50Ms: at(0.5), p99Ms: at(0.99) }
}

export async function queue(
  stream: PeerStream,
  { recordBytes, jobs }: { recordBytes: number; jobs: number },
): Promise<number> {
  if (stream.work === undefined || stream.unacknowledgedJobs === undefined) throw new Error('not a queue')
  await fill(stream, { recordBytes, records: jobs })
  const startedMs = performance.now()
  await stream.work(jobs)
  const elapsedMs = performance.now() - startedMs
  expectEqual('job left unacknowledged', await stream.unacknowledgedJobs(), 0)
  return perSecond(jobs, elapsedMs)
}

/** A quarter of the time, at most a second, goes before the clock starts. */
async function produce(
  stream: PeerStream,
  { ms, lanes }: { ms: number; lanes: number },
  send: () => Promise<number>,
): Promise<number> {
  let acknowledged = 0
  const runUntil = async (endMs: number): Promise<void> => {
    const lane = async (): Promise<void> => {
      while (performance.now() < endMs) {
        const records = await send()
        acknowledged += records
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
  }
  await runUntil(performance.now() + Math.min(1_000, ms / 4))
  const before = acknowledged
  const startedMs = performance.now()
  await runUntil(startedMs + ms)
  const elapsedMs = performance.now() - startedMs
  expectEqual('acknowledged record stored', await stream.stored(), acknowledged)
  return perSecond(acknowledged - before, elapsedMs)
}

async function fill(
  stream: PeerStream,
  { recordBytes, records }: { recordBytes: number; records: number },
): Promise<void> {
  const value = payload(recordBytes)
  for (let left = records; left > 0; left -= BATCH_RECORDS) {
    await sendBatch(
      stream,
      Array.from({ length: Math.min(left, BATCH_RECORDS) }, () => value),
    )
  }
  expectEqual('record stored', await stream.stored(), records)
}

async function sendBatch(stream: PeerStream, values: readonly string[]): Promise<void> {
  if (stream.sendBatch !== undefined) await stream.sendBatch(values)
  else await Promise.all(values.map((value) => stream.send(value)))
}

function payload(recordBytes: number): string {
  return 'x'.repeat(recordBytes)
}

function perSecond(count: number, elapsedMs: number): number {
  return (count * 1_000) / elapsedMs
}

/** A figure that counts what is not there is worse than none. */
function expectEqual(what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new Error(`${what}: ${actual} where ${expected} should be`)
}
