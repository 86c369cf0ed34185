import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import type { RunningPeer } from '../../../load/peers/index.js'
import { accepts } from '../../../load/peers/peer-server.js'
import { root } from '../../tidy/source-files.js'

// The compiled form: a figure forks a process of its own.
const compiled = pathToFileURL(join(root, 'dist/load/peers/index.js')).href
const { peers } = (await import(compiled)) as typeof import('../../../load/peers/index.js')

/** What .ci/run installs, in versions that may be too old for the settings of the others. */
const EXPECTED_IN_CI = [
  'Redis Streams, appendfsync always',
  'Redis Streams, default',
  'NATS JetStream, default',
  'Durable Streams server, on files',
  'Durable Streams server, default',
]

const FIGURES: { readonly [name in keyof RunningPeer]?: (peer: RunningPeer) => Promise<number> | undefined } =
  {
    produceEach: (peer) => peer.produceEach?.({ recordBytes: 100, ms: 100 }),
    produceBatches: (peer) => peer.produceBatches?.({ recordBytes: 100, ms: 100 }),
    consume: (peer) => peer.consume?.({ recordBytes: 100, records: 2_500 }),
    consumeBatches: (peer) => peer.consumeBatches?.({ recordBytes: 100, records: 2_500 }),
    loneSends: (peer) => peer.loneSends?.({ recordBytes: 100, count: 20 }).then(({ p50Ms }) => p50Ms),
    queue: (peer) => peer.queue?.({ recordBytes: 100, jobs: 500 }),
  }

/** Takes longer to start than all others together. */
const LONG = ['RabbitMQ streams']

for (const peer of peers) {
  if (LONG.includes(peer.name) && process.env.MILLRACE_LONG === undefined) {
    console.warn(`skipped: ${peer.name} without MILLRACE_LONG=1`)
    continue
  }
  const version = await peer.find()
  const isExpected = process.env.CI !== undefined && EXPECTED_IN_CI.includes(peer.name)
  if (version === undefined && !isExpected) console.warn(`skipped: ${peer.name} cannot be started here`)

  describe.skipIf(version === undefined && !isExpected)(peer.name, () => {
    let running: RunningPeer | undefined
    let directory: string | undefined

    const start = async (): Promise<RunningPeer> => {
      directory ??= await mkdtemp(join(tmpdir(), 'millrace-peer-'))
      running ??= await peer.start(directory)
      return running
    }

    afterAll(async () => {
      await running?.stop()
      if (directory !== undefined) await rm(directory, { recursive: true, force: true })
    })

    it('does every figure it offers, each true to what its server holds', { timeout: 120_000 }, async () => {
      expect(version).toMatch(/^\d+\.\d+\.\d+$/)
      const started = await start()
      // All at once: whether they count right is asked here, not how fast they are.
      const measured = Object.entries(FIGURES).map(async ([name, measure]) => {
        const value = await measure(started)
        expect(value === undefined, name).toBe(!(name in started))
        if (value !== undefined) expect(value, name).toBeGreaterThan(0)
      })
      await Promise.all(measured)
    })

    it('is gone after it was stopped', async () => {
      const started = await start()
      expect(await accepts(Number(new URL(started.url).port))).toBe(true)
      await started.stop()
      expect(await accepts(Number(new URL(started.url).port))).toBe(false)
      await started.stop()
    })
  })
}
