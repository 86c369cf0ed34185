import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { memoryOf } from '../process-memory.js'
import { ServerProcess, withServerOn } from '../server-process.js'

const FLAGS = { 'topics-max': '200000', 'partitions-max': '200000' }

/** What the files take of the disk, preallocated segments included. */
async function diskBytes(directory: string): Promise<number> {
  const { stdout } = await promisify(execFile)('du', ['--summarize', '--block-size=1', directory])
  return Number(stdout.split('\t')[0])
}

export const manyTopics: Figure = {
  name: 'many-topics',
  about: '100,000 topics with one record each: disk, memory and the time of a clean start',
  isLimit: true,
  rounds: 1,
  contenders: (context) => [
    {
      name: 'Millrace',
      async take() {
        const data = join(context.directory, 'data')
        const topics = sized(context, { full: 100_000, quick: 5_000 })
        await withServerOn('broker', data, ({ url }) => runLoad('manyTopics', { url, topics }), FLAGS)
        const started = await ServerProcess.start('broker', data, FLAGS)
        try {
          const { anonymousBytes, rssBytes } = await memoryOf(started.pid)
          return {
            start: started.startMs / 1_000,
            disk: (await diskBytes(data)) / 1e6,
            anonymous: anonymousBytes / 1e6,
            RSS: rssBytes / 1e6,
          }
        } finally {
          await started.stop()
        }
      },
    },
  ],
}
