import { type BenchContext, type Contender, type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'

const MANY = 1_000

const times = (context: BenchContext) => ({
  warmupMs: sized(context, { full: 2_000, quick: 1_000 }),
  ms: sized(context, { full: 6_000, quick: 2_000 }),
})

const byFrames = (context: BenchContext, partitions: number): Contender => ({
  name: `frames, ${partitions}`,
  take: () =>
    withServer('broker', context.directory, async ({ url }) => {
      const { megabytesPerSecond } = await runLoad('frames', {
        url,
        isBroker: true,
        batchBytes: 16 * 1024,
        recordBytes: 1_000,
        inFlight: 16,
        partitions,
        ...times(context),
      })
      return { [partitions === 1 ? '1 frames' : '1,000 frames']: megabytesPerSecond }
    }),
})

const byClient = (context: BenchContext, partitions: number): Contender => ({
  name: `client, ${partitions}`,
  take: () =>
    withServer('broker', context.directory, async ({ url }) => {
      const request = { url, how: 'each' as const, recordBytes: 100, partitions, ...times(context) }
      const { recordsPerSecond } = await runLoad('sdkProduce', request)
      return { [partitions === 1 ? '1 client' : '1,000 client']: recordsPerSecond }
    }),
})

/** Each frame of 16 KiB goes to the next partition, and so does each batch of the client, as it is by default. */
export const partitions: Figure = {
  name: 'partitions',
  about: '1,000 partitions in turn against one: frames of 16 KiB, and 100-byte records through the client',
  contenders: (context) => [
    byFrames(context, MANY),
    byFrames(context, 1),
    byClient(context, MANY),
    byClient(context, 1),
  ],
}
