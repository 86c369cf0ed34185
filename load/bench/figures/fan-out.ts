import { type BenchContext, type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { cpuMsOf } from '../process-memory.js'
import { type ServerProcess, withServer } from '../server-process.js'

const CONSUMERS = 200
const BATCH_BYTES = 64 * 1024

/** The load, and the CPU time of the server while it is measured. */
async function run(context: BenchContext, server: ServerProcess, isBroker: boolean) {
  const cpuMs: Record<string, number> = {}
  const result = await runLoad(
    'fanOut',
    {
      url: server.url,
      isBroker,
      consumers: CONSUMERS,
      batchBytes: BATCH_BYTES,
      warmupMs: sized(context, { full: 3_000, quick: 1_000 }),
      ms: sized(context, { full: 10_000, quick: 2_000 }),
    },
    async (stage) => {
      cpuMs[stage] = await cpuMsOf(server.pid)
    },
  )
  const { warm = 0, over = 0 } = cpuMs
  return { ...result, cpuMsPerMegabyte: (over - warm) / (result.bytes / 1e6) }
}

/**
 * That a batch is encoded once is shown by three things: every consumer gets the same bytes, no read goes past the one cached
 * entry, and a megabyte out costs the broker no more CPU than the floor's pread and send.
 */
export const fanOut: Figure = {
  name: 'fan-out',
  about: 'bytes out to 200 consumers at the tail of one partition, beside a pread and a ws send for each',
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('metered broker', context.directory, async (server) => {
          const { megabytesPerSecond, differing, cpuMsPerMegabyte, messageBytes } = await run(
            context,
            server,
            true,
          )
          const { deliveredBytes, produceBytes, cacheHits, cacheMisses } = await server.meter()
          return {
            Millrace: megabytesPerSecond,
            'CPU per MB': cpuMsPerMegabyte,
            'consumers that differ': differing,
            'share past the cache': cacheMisses / Math.max(1, cacheHits + cacheMisses),
            'KiB per message': messageBytes / 1024,
            'delivered per byte produced': deliveredBytes / produceBytes,
          }
        }),
    },
    {
      name: 'pread floor',
      take: () =>
        withServer('floor fan-out', context.directory, async (server) => {
          const { megabytesPerSecond, cpuMsPerMegabyte } = await run(context, server, false)
          return { 'pread floor': megabytesPerSecond, 'floor CPU per MB': cpuMsPerMegabyte }
        }),
    },
  ],
}
