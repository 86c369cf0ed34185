import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'

export const openLoop: Figure = {
  name: 'open-loop',
  about: 'produce to delivered at a tailing consumer, 5,000 records/s by the clock',
  // Now and then the disk stands still for a moment: of two runs, the median would be half made of it.
  rounds: 3,
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('broker', context.directory, async ({ url }) => {
          const { p50Ms, p99Ms } = await runLoad('openLoop', {
            url,
            recordBytes: 100,
            recordsPerSecond: 5_000,
            warmupMs: sized(context, { full: 4_000, quick: 1_000 }),
            ms: sized(context, { full: 15_000, quick: 3_000 }),
          })
          return { p50: p50Ms, p99: p99Ms }
        }),
    },
  ],
}
