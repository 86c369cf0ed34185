import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'
import { peersAt } from './peer-contender.js'

const JOB_BYTES = 100

export const queue: Figure = {
  name: 'queue',
  about: '100-byte jobs/s of a work queue, claimed and durably acknowledged one by one; beside the peers',
  contenders: (context) => {
    const options = { recordBytes: JOB_BYTES, jobs: sized(context, { full: 100_000, quick: 10_000 }) }
    return [
      {
        name: 'Millrace',
        take: () =>
          withServer('broker', context.directory, async ({ url }) => {
            const records = sized(context, { full: 1_000_000, quick: 100_000 })
            const written = await runLoad('fill', {
              url,
              batchBytes: 64 * 1024,
              recordBytes: JOB_BYTES,
              records,
            })
            const { jobsPerSecond } = await runLoad('queue', { url, jobs: written.records })
            return { Millrace: jobsPerSecond }
          }),
      },
      ...peersAt(context, (peer) => peer.queue?.(options)),
    ]
  },
}
