import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'

/** A lone 100-byte send: on an idle broker, then beside a saturating stream of 256 KiB requests, on the same broker. */
export const loneBesideStream: Figure = {
  name: 'lone-beside-stream',
  about: 'latency of a lone 100-byte send, idle and beside 256 KiB x 8',
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('broker', context.directory, async ({ url }) => {
          const warmupMs = sized(context, { full: 3_000, quick: 500 })
          const ms = sized(context, { full: 12_000, quick: 3_000 })
          const lone = { url, recordBytes: 100, warmupMs, ms }
          const idle = await runLoad('lone', lone)
          const stream = {
            url,
            isBroker: true,
            batchBytes: 256 * 1024,
            recordBytes: 1_000,
            inFlight: 8,
            warmupMs,
            // Until the last lone send is over.
            ms: ms + 1_000,
          }
          const [beside, { megabytesPerSecond }] = await Promise.all([
            runLoad('lone', lone),
            runLoad('frames', stream),
          ])
          return {
            'p50 idle': idle.p50Ms,
            'p99 idle': idle.p99Ms,
            'p50 beside': beside.p50Ms,
            'p99 beside': beside.p99Ms,
            'stream MB/s': megabytesPerSecond,
          }
        }),
    },
  ],
}
