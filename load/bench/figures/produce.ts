import { type BenchContext, type Contender, type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'
import { peersAt } from './peer-contender.js'

const RECORD_BYTES = 100

function millrace(context: BenchContext, name: string, how: 'each' | 'batches'): Contender {
  return {
    name,
    take: () =>
      withServer('broker', context.directory, async ({ url }) => {
        const { recordsPerSecond } = await runLoad('sdkProduce', {
          url,
          how,
          recordBytes: RECORD_BYTES,
          partitions: 1,
          warmupMs: sized(context, { full: 3_000, quick: 1_000 }),
          ms: sized(context, { full: 8_000, quick: 2_000 }),
        })
        return { [name]: recordsPerSecond }
      }),
  }
}

export const produce: Figure = {
  name: 'produce',
  about: '100-byte records/s through the client: a promise per record, and sendBatch; beside the peers',
  contenders: (context) => {
    const options = { recordBytes: RECORD_BYTES, ms: sized(context, { full: 6_000, quick: 1_500 }) }
    return [
      millrace(context, 'Millrace', 'each'),
      ...peersAt(context, (peer) => peer.produceEach?.(options)),
      millrace(context, 'Millrace, sendBatch', 'batches'),
      ...peersAt(context, (peer) => peer.produceBatches?.(options), 'batches'),
    ]
  },
}
