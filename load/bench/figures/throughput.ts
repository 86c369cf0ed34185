import type { BenchContext, Contender, Figure } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { type FloorKind, type ServerProcess, withServer } from '../server-process.js'

const KIB = 1024
const MIB = 1024 * KIB

interface Size {
  readonly batchBytes: number
  readonly inFlight: number
}

interface Times {
  readonly warmupMs: number
  readonly ms: number
}

/** The middle size has the bar with the steady state of a minute; the others need none each. */
const BROKER_TIMES = {
  full: { warmupMs: 4_000, ms: 12_000 },
  steady: { warmupMs: 15_000, ms: 60_000 },
  quick: { warmupMs: 1_000, ms: 3_000 },
}
const FLOOR_TIMES = { full: { warmupMs: 2_000, ms: 8_000 }, quick: { warmupMs: 500, ms: 1_500 } }

async function floorRun(kind: FloorKind, size: Size, { directory, isQuick }: BenchContext) {
  const times = isQuick ? FLOOR_TIMES.quick : FLOOR_TIMES.full
  return await withServer(kind, directory, async ({ url }) => {
    const { megabytesPerSecond } = await runLoad('frames', {
      url,
      isBroker: false,
      recordBytes: 1_000,
      ...size,
      ...times,
    })
    return { [kind]: megabytesPerSecond }
  })
}

/** What of the measured time stands in chunks when it is over, and the WAL at both ends. */
async function brokerRun(size: Size, times: Times, directory: string) {
  return await withServer('broker', directory, async (server) => {
    const disk: Record<string, { chunks: number; wal: number }> = {}
    const look = async (server: ServerProcess) => ({
      chunks: await server.bytesIn('chunks'),
      wal: await server.bytesIn('wal'),
    })
    const run = await runLoad(
      'frames',
      { url: server.url, isBroker: true, recordBytes: 1_000, ...size, ...times },
      async (stage) => {
        disk[stage] = await look(server)
      },
    )
    const { warm = await look(server), over = warm } = disk
    return {
      Millrace: run.megabytesPerSecond,
      'records/s': run.recordsPerSecond,
      'sealed share': (over.chunks - warm.chunks) / run.bytes,
      'WAL before': warm.wal / MIB,
      'WAL after': over.wal / MIB,
    }
  })
}

const contendersFor =
  (size: Size, full: Times) =>
  (context: BenchContext): Contender[] => [
    { name: 'floor once', take: () => floorRun('floor once', size, context) },
    { name: 'floor twice', take: () => floorRun('floor twice', size, context) },
    {
      name: 'Millrace',
      take: () => brokerRun(size, context.isQuick ? BROKER_TIMES.quick : full, context.directory),
    },
  ]

const size256k: Size = { batchBytes: 256 * KIB, inFlight: 8 }

export const throughput256k: Figure = {
  name: 'throughput-256k',
  about: 'durable MB/s at 256 KiB x 8: a steady minute of the broker, beside both floors',
  contenders: contendersFor(size256k, BROKER_TIMES.steady),
}

export const throughput16k: Figure = {
  name: 'throughput-16k',
  about: 'durable MB/s at 16 KiB x 16, beside both floors',
  contenders: contendersFor({ batchBytes: 16 * KIB, inFlight: 16 }, BROKER_TIMES.full),
}

export const throughput1m: Figure = {
  name: 'throughput-1m',
  about: 'durable MB/s at 1 MiB x 4, beside both floors',
  contenders: contendersFor({ batchBytes: MIB, inFlight: 4 }, BROKER_TIMES.full),
}

/**
 * The floor's ring forgets what it acknowledged and writes the same few blocks for ever, which some disks do several times
 * faster than new ones. This floor keeps what it acknowledged, as a log must.
 */
export const floorKept: Figure = {
  name: 'floor-kept',
  about: 'durable MB/s at 256 KiB x 8, beside a floor that keeps what it wrote',
  isLimit: true,
  contenders: (context) => [
    { name: 'floor kept', take: () => floorRun('floor kept', size256k, context) },
    {
      name: 'Millrace',
      take: () =>
        brokerRun(size256k, context.isQuick ? BROKER_TIMES.quick : BROKER_TIMES.full, context.directory),
    },
  ],
}
