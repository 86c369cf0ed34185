import { execFile } from 'node:child_process'
import { constants, type PathLike } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { LoadRequest, LoadResult } from './load-process.js'
import { type ServerKind, ServerProcess } from './server-process.js'

const KIB = 1024
const loadProcess = fileURLToPath(new URL('./load-process.js', import.meta.url))
const execute = promisify(execFile)

/** Sizes of requests, with how many of them are unanswered at a time. */
export const REQUESTS = [
  { batchBytes: 16 * KIB, inFlight: 16 },
  { batchBytes: 256 * KIB, inFlight: 8 },
  { batchBytes: 1024 * KIB, inFlight: 4 },
] as const

export interface FigureOptions {
  readonly directory: string
  readonly warmupMs: number
  readonly ms: number
}

export interface BrokerDisk {
  /** Of what was appended in the measured time and the warm-up, what stands in chunks. */
  readonly sealedShare: number
  readonly walBytes: number
}

export async function load(request: LoadRequest): Promise<LoadResult> {
  const { stdout } = await execute(process.execPath, [loadProcess, JSON.stringify(request)], {
    maxBuffer: 1e6,
  })
  return JSON.parse(stdout) as LoadResult
}

/** A server for the length of `use`, in a directory that is empty before and gone after. */
export async function withServer<T>(
  kind: ServerKind,
  directory: string,
  use: (server: ServerProcess) => Promise<T>,
): Promise<T> {
  const place = join(directory, kind.replace(' ', '-'))
  await rm(place, { recursive: true, force: true })
  const server = await ServerProcess.start(kind, place)
  try {
    return await use(server)
  } finally {
    await server.stop()
    await rm(place, { recursive: true, force: true })
  }
}

/** Durable throughput at one request size. */
export async function throughput(
  kind: ServerKind,
  size: (typeof REQUESTS)[number],
  options: FigureOptions,
): Promise<LoadResult & { disk: BrokerDisk | undefined }> {
  const { directory, warmupMs, ms } = options
  return await withServer(kind, directory, async (server) => {
    const isBroker = kind === 'broker'
    const result = await load({
      kind: 'frames',
      url: server.url,
      isBroker,
      recordBytes: 1_000,
      ...size,
      warmupMs,
      ms,
    })
    if (!isBroker) return { ...result, disk: undefined }
    const chunks = await server.bytesIn('chunks')
    const appended = (result.bytes * (warmupMs + ms)) / ms
    return { ...result, disk: { sealedShare: chunks / appended, walBytes: await server.bytesIn('wal') } }
  })
}

/** Records of 100 bytes through the client. */
export async function sdk(kind: 'sdk send' | 'sdk sendBatch', options: FigureOptions): Promise<LoadResult> {
  const { directory, warmupMs, ms } = options
  return await withServer('broker', directory, (server) =>
    load({
      kind,
      url: server.url,
      isBroker: true,
      batchBytes: 0,
      recordBytes: 100,
      inFlight: 16,
      warmupMs,
      ms,
    }),
  )
}

/** A lone 100-byte send: on an idle broker, then beside a stream of 256 KiB requests, on the same broker. */
export async function loneSend(options: FigureOptions): Promise<{ idle: LoadResult; beside: LoadResult }> {
  const { directory, warmupMs, ms } = options
  return await withServer('broker', directory, async ({ url }) => {
    const small = {
      kind: 'lone',
      url,
      isBroker: true,
      batchBytes: 100,
      recordBytes: 100,
      inFlight: 1,
      warmupMs,
      ms,
    } as const
    const idle = await load(small)
    const stream = {
      ...small,
      kind: 'frames',
      batchBytes: 256 * KIB,
      recordBytes: 1_000,
      inFlight: 8,
    } as const
    const [beside] = await Promise.all([load(small), load({ ...stream, ms: ms + 1_000 })])
    return { idle, beside }
  })
}

/** Milliseconds of one 4 KiB write to a preallocated file that is opened O_DSYNC. */
export async function bareDurableWrite(directory: PathLike): Promise<number> {
  const path = join(String(directory), 'bare')
  const bytes = Buffer.alloc(4 * KIB, 1)
  const prepared = await open(path, 'w')
  await prepared.write(Buffer.alloc(8 * 1024 * KIB))
  await prepared.datasync()
  await prepared.close()
  const file = await open(path, constants.O_RDWR | constants.O_DSYNC)
  const latencies: number[] = []
  for (let i = 0; i < 1_500; i++) {
    const startedMs = performance.now()
    await file.write(bytes, 0, bytes.length, (i % 2_000) * bytes.length)
    latencies.push(performance.now() - startedMs)
  }
  await file.close()
  await rm(path)
  return latencies.sort((a, b) => a - b)[latencies.length >> 1] ?? 0
}
