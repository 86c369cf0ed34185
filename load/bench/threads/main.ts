/**
 * `npm run bench:threads`: what threads of their own would cost and bring. Three questions, each asked in turn: whether a
 * thread that does nothing but write synchronously beats the thread pool; what it costs to hand a batch to another thread
 * and hear of it; and what a second broker with a log of its own brings beside the first, which is as much as a second
 * shard could. docs/decisions/0009 says what follows.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runLoad } from '../forked-load.js'
import { median, percentiles, type Series } from '../series.js'
import { ServerProcess } from '../server-process.js'
import { handOver } from './hand-over.js'
import { WRITERS, type WriterKind } from './writers.js'

const HELP = `npm run bench:threads -- [--rounds N] [--directory DIR]

  --rounds N       runs of each kind; default 3
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 6 GB free`

const KIB = 1024
const MIB = 1024 * KIB
const RING_BYTES = 64 * MIB
const SIZES = [4 * KIB, 64 * KIB, 256 * KIB, MIB]
/** Of one run of writes, before and while it is measured. */
const WARMUP_MS = 500
const MEASURED_MS = 2_000

interface Written {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly megabytesPerSecond: number
  /** Of all threads of this process, for each write. */
  readonly cpuMicroseconds: number
}

/** One write after the other, each from its call to the moment when this thread knows of its end. */
async function write(kind: WriterKind, bytes: number, directory: string): Promise<Written> {
  const writer = await WRITERS[kind](join(directory, 'ring'), { ringBytes: RING_BYTES, bytesMax: MIB })
  const latencies: number[] = []
  let cpu = process.cpuUsage()
  let startedMs = performance.now()
  let isWarm = false
  for (let position = 0; ; position = (position + bytes) % RING_BYTES) {
    const beganMs = performance.now()
    if (!isWarm && beganMs - startedMs > WARMUP_MS) {
      isWarm = true
      cpu = process.cpuUsage()
      startedMs = beganMs
    }
    if (isWarm && beganMs - startedMs > MEASURED_MS) break
    await writer.write(bytes, position)
    if (isWarm) latencies.push(performance.now() - beganMs)
  }
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - startedMs) / 1_000
  await writer.close()
  return {
    ...percentiles(latencies),
    megabytesPerSecond: (latencies.length * bytes) / 1e6 / seconds,
    cpuMicroseconds: (user + system) / latencies.length,
  }
}

/** MB/s of so many brokers together, each with a load of its own: batches of 16 KiB, 16 under way. */
async function brokers(count: number, directory: string): Promise<number> {
  const servers = await Promise.all(
    Array.from({ length: count }, (_, i) => ServerProcess.start('broker', join(directory, `broker-${i}`))),
  )
  try {
    const runs = servers.map(({ url }) =>
      runLoad('frames', {
        url,
        isBroker: true,
        recordBytes: 1_000,
        batchBytes: 16 * KIB,
        inFlight: 16,
        warmupMs: 3_000,
        ms: 8_000,
      }),
    )
    return (await Promise.all(runs)).reduce((sum, { megabytesPerSecond }) => sum + megabytesPerSecond, 0)
  } finally {
    for (const server of servers) await server.stop()
    for (const { directory } of servers) await rm(directory, { recursive: true, force: true })
  }
}

const row = (cells: readonly string[]): void =>
  console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(34) : cell.padStart(16))).join(''))

async function main({ rounds, directory }: { rounds: number; directory: string }): Promise<void> {
  const turns = Array.from({ length: rounds }, (_, i) => i)
  row(['one durable write after the other', 'p50 ms', 'p99 ms', 'MB/s', 'CPU us a write'])
  for (const bytes of SIZES) {
    const runs = new Map(Object.keys(WRITERS).map((kind) => [kind as WriterKind, [] as Written[]]))
    for (const _ of turns) for (const [kind, of] of runs) of.push(await write(kind, bytes, directory))
    for (const [kind, of] of runs) {
      const middle = (pick: (run: Written) => number): number => median(of.map(pick))
      row([
        `${bytes / KIB} KiB, ${kind}`,
        middle(({ p50Ms }) => p50Ms).toFixed(3),
        middle(({ p99Ms }) => p99Ms).toFixed(2),
        middle((run) => run.megabytesPerSecond).toFixed(0),
        middle((run) => run.cpuMicroseconds).toFixed(0),
      ])
    }
  }
  row(['\nbatches to another thread and back', 'round trip us', 'CPU us a batch'])
  for (const [bytes, inFlight] of [
    [16 * KIB, 1],
    [16 * KIB, 16],
    [256 * KIB, 8],
  ] as const) {
    const trips: { microseconds: number; cpuMicroseconds: number }[] = []
    for (const _ of turns) trips.push(await handOver({ bytes, inFlight }))
    row([
      `${bytes / KIB} KiB, ${inFlight} under way`,
      median(trips.map(({ microseconds }) => microseconds)).toFixed(0),
      median(trips.map(({ cpuMicroseconds }) => cpuMicroseconds)).toFixed(0),
    ])
  }
  row(['\nbrokers, 16 KiB x 16 each', 'MB/s in all'])
  const sums = new Map<number, Series>()
  for (const _ of turns)
    for (const count of [1, 2]) sums.set(count, [...(sums.get(count) ?? []), await brokers(count, directory)])
  for (const [count, series] of sums) row([`${count}`, median(series).toFixed(0)])
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    directory: { type: 'string', default: '.' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) console.log(HELP)
else {
  const directory = join(resolve(values.directory), `millrace-bench-threads-${process.pid}`)
  await mkdir(directory, { recursive: true })
  try {
    await main({ rounds: Number(values.rounds), directory })
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
