import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { watchMemory } from '../process-memory.js'
import { withServer } from '../server-process.js'

export const stoppedReader: Figure = {
  name: 'stopped-reader',
  about: 'highest memory of the broker while 10 GB pass a reader that has stopped',
  isLimit: true,
  rounds: 1,
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('broker', context.directory, async ({ url, pid }) => {
          const memory = watchMemory(pid)
          await runLoad('stoppedReader', { url, bytes: sized(context, { full: 10e9, quick: 0.5e9 }) })
          const { anonymousBytes, rssBytes } = await memory.stop()
          return { anonymous: anonymousBytes / 1e6, RSS: rssBytes / 1e6 }
        }),
    },
  ],
}
