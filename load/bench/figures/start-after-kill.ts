import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { ServerProcess } from '../server-process.js'

const MIB = 1024 * 1024
const BATCH_BYTES = 256 * 1024
/** Nothing is sealed before the kill: all of the WAL is read again at the start. */
const FLAGS = { 'chunk-bytes': '1GiB' }

export const startAfterKill: Figure = {
  name: 'start-after-kill',
  about: 'from the start of the process to ready, after SIGKILL with 512 MiB in the WAL',
  contenders: (context) => [
    {
      name: 'Millrace',
      async take() {
        const bytes = sized(context, { full: 512, quick: 128 }) * MIB
        const data = join(context.directory, 'data')
        const batches = Math.ceil(bytes / BATCH_BYTES)
        const killed = await ServerProcess.start('broker', data, FLAGS)
        try {
          await runLoad('fill', { url: killed.url, batchBytes: BATCH_BYTES, recordBytes: 1_000, batches })
        } finally {
          await killed.kill()
        }
        const started = await ServerProcess.start('broker', data, FLAGS)
        const seconds = started.startMs / 1_000
        await started.stop()
        await rm(data, { recursive: true })
        return { start: seconds }
      },
    },
  ],
}
