import { join } from 'node:path'
import { type Contender, type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServerOn } from '../server-process.js'
import { peersAt } from './peer-contender.js'

const RECORD_BYTES = 100
const KIB = 1024

/**
 * The records are written once. Each run starts a broker on them, so that its tail cache is empty and all but the last few
 * megabytes, which are not sealed yet, come from chunk files.
 */
export const consume: Figure = {
  name: 'consume',
  about: '100-byte records/s read from chunks: by record, by batch, as a group; beside the peers',
  async contenders(context) {
    const data = join(context.directory, 'data')
    const records = sized(context, { full: 6_000_000, quick: 1_000_000 })
    const written = await withServerOn('broker', data, ({ url }) =>
      runLoad('fill', { url, batchBytes: 256 * KIB, recordBytes: RECORD_BYTES, records }),
    )
    const millrace = (name: string, how: 'records' | 'batches' | 'group'): Contender => ({
      name,
      take: () =>
        withServerOn('broker', data, async ({ url }) => {
          const { recordsPerSecond } = await runLoad('sdkConsume', { url, how, records: written.records })
          return { [name]: recordsPerSecond }
        }),
    })
    // Peers write what they read within each run.
    const options = { recordBytes: RECORD_BYTES, records: sized(context, { full: 300_000, quick: 100_000 }) }
    return [
      millrace('Millrace', 'records'),
      ...peersAt(context, (peer) => peer.consume?.(options)),
      millrace('Millrace, batches', 'batches'),
      ...peersAt(context, (peer) => peer.consumeBatches?.(options), 'batches'),
      millrace('Millrace, group', 'group'),
    ]
  },
}
