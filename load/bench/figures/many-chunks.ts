import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { ServerProcess, withServerOn } from '../server-process.js'

const PARTITIONS = 1_000
/** The least that may be set: a batch is a chunk, as long as no other one of its partition waits to be sealed. */
const FLAGS = { 'chunk-bytes': '4KiB' }
const BATCH_BYTES = 5_000
const SEALED_WITHIN_MS = 60 * 60_000

async function sealed(data: string, chunks: number): Promise<void> {
  const deadlineMs = performance.now() + SEALED_WITHIN_MS
  for (;;) {
    const files = await readdir(join(data, 'chunks'))
    if (files.length >= chunks) return
    if (performance.now() > deadlineMs)
      throw new Error(`only ${files.length} of ${chunks} chunks were sealed`)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

export const manyChunks: Figure = {
  name: 'many-chunks',
  about: 'the time of a clean start with 10,000 partitions and 100,000 chunks',
  isLimit: true,
  rounds: 1,
  contenders: async (context) => {
    const data = join(context.directory, 'data')
    const topics = sized(context, { full: 10, quick: 1 })
    const chunksEach = sized(context, { full: 10, quick: 1 })
    await withServerOn(
      'broker',
      data,
      async ({ url }) => {
        const writing = {
          url,
          batchBytes: BATCH_BYTES,
          recordBytes: 1_000,
          batches: PARTITIONS,
          partitions: PARTITIONS,
        }
        for (let layer = 1; layer <= chunksEach; layer++) {
          for (let topic = 0; topic < topics; topic++)
            await runLoad('fill', { ...writing, topic: `bench-${topic}` })
          await sealed(data, topics * PARTITIONS * layer)
        }
      },
      FLAGS,
    )
    return [1, 2, 3].map((start) => ({
      name: `start ${start}`,
      async take() {
        const server = await ServerProcess.start('broker', data, FLAGS)
        await server.stop()
        return { start: server.startMs / 1_000 }
      },
    }))
  },
}
