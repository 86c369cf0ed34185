import { type BenchContext, type Figure, sized } from '../figure.js'
import { runLoad } from '../forked-load.js'
import { memoryOf, type ProcessMemory } from '../process-memory.js'
import { type ServerKind, withServer } from '../server-process.js'

/** Time for the garbage of opening them to go. */
const SETTLE_MS = 3_000

async function kilobytesEach(context: BenchContext, kind: ServerKind) {
  const connections = sized(context, { full: 5_000, quick: 1_000 })
  return await withServer(kind, context.directory, async ({ url, pid }) => {
    const memory: Record<string, ProcessMemory> = {}
    await runLoad('idle', { url, isBroker: kind === 'broker', connections }, async (stage) => {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
      memory[stage] = await memoryOf(pid)
    })
    const { none, open } = memory
    if (none === undefined || open === undefined) throw new Error('the load told of no stage')
    const each = (field: keyof ProcessMemory): number => (open[field] - none[field]) / connections / 1_000
    return { anonymous: each('anonymousBytes'), rss: each('rssBytes') }
  })
}

export const idleConnections: Figure = {
  name: 'idle-connections',
  about: 'memory of 5,000 idle connections, beside a bare ws server',
  contenders: (context) => [
    {
      name: 'Millrace',
      async take() {
        const { anonymous, rss } = await kilobytesEach(context, 'broker')
        return { 'KB each': anonymous, 'RSS KB each': rss }
      },
    },
    {
      name: 'bare ws server',
      async take() {
        const { anonymous, rss } = await kilobytesEach(context, 'floor idle')
        return { 'bare ws KB each': anonymous, 'bare ws RSS KB each': rss }
      },
    },
  ],
}
