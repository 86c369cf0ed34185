import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'

export const stoppedBroker: Figure = {
  name: 'stopped-broker',
  about: 'ten million sends that nobody awaits while the broker is stopped: what is held, and what settles',
  isLimit: true,
  rounds: 1,
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('broker', context.directory, async (server) => {
          const result = await runLoad(
            'stoppedBroker',
            {
              url: server.url,
              sends: sized(context, { full: 10_000_000, quick: 500_000 }),
              deliveryTimeoutMs: sized(context, { full: 120_000, quick: 5_000 }),
            },
            () => server.stop(),
          )
          return {
            'settled share': result.settledShare,
            'buffered share': result.bufferedShare,
            anonymous: result.anonymousBytes / 1e6,
          }
        }),
    },
  ],
}
