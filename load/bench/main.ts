/** `npm run bench`: durable throughput and latency of the broker beside the floor, taken in turn. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { bareDurableWrite, loneSend, REQUESTS, sdk, throughput } from './figures.js'

const HELP = `npm run bench -- [--quick] [--directory DIR] [--json FILE]

Runs the broker and the floor program in turn, each in a process of its own with the load in another.
  --quick          about two minutes instead of a steady state of 60 s; says less about sealing
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 40 GB free, --quick 10
  --json FILE      write all figures as JSON`

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    directory: { type: 'string', default: '.' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(HELP)
  process.exit(0)
}

const directory = join(resolve(values.directory), `millrace-bench-${process.pid}`)
const rounds = values.quick ? 1 : 2
const steady = values.quick ? { warmupMs: 4_000, ms: 6_000 } : { warmupMs: 15_000, ms: 60_000 }
const short = values.quick ? { warmupMs: 2_000, ms: 5_000 } : { warmupMs: 5_000, ms: 15_000 }
const figures: Record<string, unknown> = {
  node: process.version,
  cpu: `${cpus().length} x ${cpus()[0]?.model}`,
  memoryBytes: totalmem(),
}

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)] ?? 0
const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3))
const spread = (numbers: readonly number[]): string =>
  numbers.length < 2 ? round(numbers[0] ?? 0) : `${round(median(numbers))} (${numbers.map(round).join(', ')})`

async function throughputs(): Promise<void> {
  console.log(
    '\ndurable MB/s          floor once      floor twice     broker          /once   /twice  records/s   sealed  WAL MiB',
  )
  for (const size of REQUESTS) {
    // The middle size has the bar; the others need no minute each.
    const options = { directory, ...(size.batchBytes === 256 * 1024 ? steady : short) }
    const once: number[] = []
    const twice: number[] = []
    const broker: number[] = []
    let last: Awaited<ReturnType<typeof throughput>> | undefined
    for (let i = 0; i < rounds; i++) {
      once.push((await throughput('floor once', size, options)).megabytesPerSecond)
      twice.push((await throughput('floor twice', size, options)).megabytesPerSecond)
      last = await throughput('broker', size, options)
      broker.push(last.megabytesPerSecond)
    }
    const name = `${size.batchBytes / 1024} KiB x ${size.inFlight}`
    const ratios = { once: median(broker) / median(once), twice: median(broker) / median(twice) }
    console.log(
      [
        name.padEnd(21),
        spread(once).padEnd(15),
        spread(twice).padEnd(15),
        spread(broker).padEnd(15),
        ratios.once.toFixed(2).padEnd(7),
        ratios.twice.toFixed(2).padEnd(7),
        round(last?.recordsPerSecond ?? 0).padEnd(11),
        (last?.disk?.sealedShare ?? 0).toFixed(2).padEnd(7),
        round((last?.disk?.walBytes ?? 0) / 2 ** 20),
      ].join(' '),
    )
    figures[name] = {
      once,
      twice,
      broker,
      ratios,
      recordsPerSecond: last?.recordsPerSecond,
      disk: last?.disk,
    }
  }
}

/**
 * The floor's ring forgets what it acknowledged and writes the same few blocks for ever, which some disks do several times
 * faster than new ones. This floor keeps what it acknowledged, as a log must.
 */
async function keptFloor(): Promise<void> {
  const size = REQUESTS[1]
  const options = { directory, warmupMs: 1_000, ms: 8_000 }
  const kept: number[] = []
  for (let i = 0; i < rounds; i++)
    kept.push((await throughput('floor kept', size, options)).megabytesPerSecond)
  const broker = (figures['256 KiB x 8'] as { broker: number[] }).broker
  const ratio = median(broker) / median(kept)
  console.log(
    `\nfloor once, keeping what it wrote, 256 KiB x 8: ${spread(kept)} MB/s; broker / it ${ratio.toFixed(2)}`,
  )
  figures['floor kept'] = { kept, ratio }
}

async function records(): Promise<void> {
  console.log('\n100-byte records through the client, default settings')
  for (const kind of ['sdk send', 'sdk sendBatch'] as const) {
    const runs: number[] = []
    for (let i = 0; i < rounds; i++) runs.push((await sdk(kind, { directory, ...short })).recordsPerSecond)
    console.log(`${kind.padEnd(21)} ${spread(runs)} records/s`)
    figures[kind] = runs
  }
}

async function latencies(): Promise<void> {
  await mkdir(directory, { recursive: true })
  const bareMs = await bareDurableWrite(directory)
  const { idle, beside } = await loneSend({ directory, ...short })
  console.log('\nlone 100-byte send    p50 ms   p99 ms')
  console.log(`idle                  ${idle.p50Ms.toFixed(2).padEnd(8)} ${idle.p99Ms.toFixed(2)}`)
  console.log(`beside 256 KiB x 8    ${beside.p50Ms.toFixed(2).padEnd(8)} ${beside.p99Ms.toFixed(2)}`)
  console.log(`p99 beside / idle     ${(beside.p99Ms / idle.p99Ms).toFixed(2)}`)
  console.log(`bare 4 KiB O_DSYNC    ${bareMs.toFixed(2)}`)
  figures.loneSend = { idle, beside, bareMs }
}

try {
  console.log(`${figures.cpu}, Node ${process.version}; each figure: median (runs)`)
  await throughputs()
  await keptFloor()
  await records()
  await latencies()
  if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(figures, undefined, 2)}\n`)
} finally {
  await rm(directory, { recursive: true, force: true })
}
