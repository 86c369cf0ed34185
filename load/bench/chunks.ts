/**
 * `npm run bench:http`: what sealed chunks over HTTP cost. One chunk of 100 MB, which is served by the broker, and whose file is
 * served by a plain fastify server with createReadStream, in turn (A B A B): throughput of two downloads at a time. Then fifty
 * downloads at once from each, and the memory of the server meanwhile. The broker checks each entry that it sends; the plain server
 * checks nothing.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { connect, defineTopic, text } from '../../client/index.js'
import { endWithUs } from '../peers/offspring.js'
import { download } from './download.js'
import { cpuMsOf, memoryOf, watchMemory } from './process-memory.js'
import { median } from './series.js'
import { ServerProcess } from './server-process.js'

const HELP = `npm run bench:http -- [--rounds N] [--batch BYTES] [--directory DIR]

  --rounds N       runs of each server; default 7
  --batch BYTES    of a batch in the chunk, before compression; default 65536
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 1 GB free`

const CHUNK_MIB = 100
const TOGETHER = 2
const DOWNLOADS = 8
const CLIENTS = 50
const BAR = 0.7

interface Server {
  readonly name: string
  readonly pid: number
  readonly port: number
  readonly path: string
}

interface ListedChunk {
  readonly chunkId: string
  readonly bytes: number
  readonly url: string
}

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

/** Writes until the broker has one chunk of about 100 MB. */
async function filled(url: string, batchBytes: number): Promise<ListedChunk> {
  const client = connect(url)
  try {
    await client.ensureTopic(Lines)
    const producer = client.producer(Lines, { batchBytes })
    const values = Array.from({ length: 1_000 }, (_, i) => ({
      key: null,
      value: `${i} `.padEnd(1_000, 'abcdef'),
    }))
    for (let written = 0; written < CHUNK_MIB + 8; written++) await producer.sendBatch(values)
    await producer.close()
  } finally {
    await client.close()
  }
  const listUrl = `${url.replace('ws:', 'http:')}/v1/topics/lines/partitions/0/chunks`
  for (;;) {
    const { chunks } = (await (await fetch(listUrl)).json()) as { chunks: ListedChunk[] }
    const [chunk] = chunks
    if (chunk !== undefined) return chunk
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

async function startFileServer(path: string): Promise<Server & { stop(): Promise<void> }> {
  const script = fileURLToPath(new URL('./servers/file-server.js', import.meta.url))
  const env = { ...process.env, UV_THREADPOOL_SIZE: '8' }
  const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'], env })
  endWithUs(child)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const { port } = JSON.parse(line.toString()) as { port: number }
  return {
    name: 'createReadStream',
    pid: child.pid ?? 0,
    port,
    path: '/file',
    async stop() {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** MB of a second, and of a second of the server's processor time. */
async function throughput(server: Server): Promise<{ perSecond: number; perCpuSecond: number }> {
  const startedMs = performance.now()
  const cpuMs = await cpuMsOf(server.pid)
  let left = DOWNLOADS
  let bytes = 0
  const one = async (): Promise<void> => {
    while (left-- > 0) bytes += await download(server)
  }
  await Promise.all(Array.from({ length: TOGETHER }, one))
  const seconds = (performance.now() - startedMs) / 1_000
  const cpuSeconds = ((await cpuMsOf(server.pid)) - cpuMs) / 1_000
  return { perSecond: bytes / 1e6 / seconds, perCpuSecond: bytes / 1e6 / cpuSeconds }
}

/** Memory of a server while fifty clients download at once, beyond what it had before. */
async function growth(server: Server): Promise<{ beforeBytes: number; grownBytes: number }> {
  await download(server)
  const { rssBytes: beforeBytes } = await memoryOf(server.pid)
  const watch = watchMemory(server.pid)
  await Promise.all(Array.from({ length: CLIENTS }, () => download(server)))
  const { rssBytes } = await watch.stop()
  return { beforeBytes, grownBytes: rssBytes - beforeBytes }
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`

async function run({
  rounds,
  batchBytes,
  directory,
}: {
  rounds: number
  batchBytes: number
  directory: string
}) {
  const place = join(directory, 'millrace-bench-chunks')
  await rm(place, { recursive: true, force: true })
  await mkdir(place, { recursive: true })
  const broker = await ServerProcess.start('broker', join(place, 'data'), {
    'chunk-bytes': `${CHUNK_MIB}MiB`,
  })
  try {
    const chunk = await filled(broker.url, batchBytes)
    const file = await startFileServer(join(place, 'data', 'chunks', `${chunk.chunkId}.chunk`))
    const ours: Server = {
      name: 'broker',
      pid: broker.pid,
      port: Number(new URL(broker.url).port),
      path: chunk.url,
    }
    try {
      process.stdout.write(`one chunk of ${mb(chunk.bytes)}, batches of ${batchBytes} bytes\n`)
      const runs = { broker: [] as number[], createReadStream: [] as number[] }
      for (const server of [ours, file]) await throughput(server)
      for (let round = 0; round < rounds; round++) {
        for (const server of [ours, file]) {
          const { perSecond, perCpuSecond } = await throughput(server)
          runs[server.name as keyof typeof runs].push(perSecond)
          process.stdout.write(
            `${server.name}: ${perSecond.toFixed(0)} MB/s, ${perCpuSecond.toFixed(0)} MB for a second of its processor time\n`,
          )
        }
      }
      const ratio = median(runs.broker) / median(runs.createReadStream)
      process.stdout.write(
        `medians: broker ${median(runs.broker).toFixed(0)} MB/s, createReadStream ${median(runs.createReadStream).toFixed(0)} MB/s: ` +
          `${ratio.toFixed(2)} of it (at least ${BAR}: ${ratio >= BAR ? 'holds' : 'MISSED'})\n`,
      )
      for (const server of [ours, file]) {
        const { beforeBytes, grownBytes } = await growth(server)
        process.stdout.write(
          `${server.name}: ${CLIENTS} clients at once, RSS ${mb(beforeBytes)} before, ${mb(grownBytes)} more at most\n`,
        )
      }
      return ratio >= BAR
    } finally {
      await file.stop()
    }
  } finally {
    await broker.stop()
    await rm(place, { recursive: true, force: true })
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    batch: { type: 'string', default: '65536' },
    directory: { type: 'string', default: '.' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) process.stdout.write(`${HELP}\n`)
else {
  const holds = await run({
    rounds: Number(values.rounds),
    batchBytes: Number(values.batch),
    directory: resolve(values.directory),
  })
  if (!holds) process.exitCode = 3
}
