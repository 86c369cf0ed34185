import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Figure } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { withServer } from '../server-process.js'
import { peersAtLoneSends } from './peer-contender.js'

const durableWrite = fileURLToPath(new URL('../servers/durable-write.js', import.meta.url))
const COUNT = 1_000
/** A server has been running for longer than a second, and so have most programs that send to it. */
const WARMUP = 3 * COUNT

export const loneSends: Figure = {
  name: 'lone-sends',
  about: '1,000 awaited lone sends of 100 bytes, beside the bare durable write of 4 KiB',
  rounds: 4,
  contenders: (context) => [
    {
      name: 'Millrace',
      take: () =>
        withServer('broker', context.directory, async ({ url }) => {
          const request = { url, recordBytes: 100, count: COUNT, warmup: WARMUP }
          const { p50Ms, p99Ms, firstP50Ms } = await runLoad('loneSends', request)
          return { p50: p50Ms, p99: p99Ms, 'first p50': firstP50Ms }
        }),
    },
    {
      name: 'bare write',
      async take() {
        await mkdir(context.directory, { recursive: true })
        const args = [durableWrite, context.directory, `${COUNT}`, `${WARMUP}`]
        const run = await promisify(execFile)(process.execPath, args)
        const { p50Ms, p99Ms } = JSON.parse(run.stdout) as { p50Ms: number; p99Ms: number }
        return { 'bare write p50': p50Ms, 'bare write p99': p99Ms }
      },
    },
    ...peersAtLoneSends(context, { recordBytes: 100, count: COUNT }),
  ],
}
