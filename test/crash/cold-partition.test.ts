import { statSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.js'
import { writeBytes } from './raw-producer.js'

const isLong = process.env.MILLRACE_LONG === '1'
const MIB = 1024 * 1024
// The long run has the defaults; the short one the same proportions.
const bytes = isLong ? 10e9 : 0.3e9
const walBytesMax = (isLong ? 2048 : 64) * MIB
const flags: Record<string, string> = isLong ? {} : { 'wal-bytes-max': '64MiB', 'wal-segment-bytes': '8MiB' }

async function walBytes(dataDir: string): Promise<number> {
  const names = await readdir(join(dataDir, 'wal'))
  return names
    .map((name) => statSync(join(dataDir, 'wal', name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((a, b) => a + b, 0)
}

test(`one record in a cold partition and ${bytes / 1e9} GB elsewhere leave the WAL below its cap`, {
  timeout: 3_600_000,
}, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-cold-'))
  const broker = new BrokerProcess({ dataDir, flags })
  await broker.start()
  try {
    await writeBytes({ url: broker.url, topic: 'cold', bytes: 1, batchBytes: 1_024 })
    let highest = 0
    const sampler = setInterval(
      () =>
        // One that was asked for last may find the directory gone.
        void walBytes(dataDir).then(
          (now) => {
            highest = Math.max(highest, now)
          },
          () => {},
        ),
      100,
    )
    await writeBytes({ url: broker.url, topic: 'hot', bytes, batchBytes: 256 * 1024 })
    clearInterval(sampler)
    highest = Math.max(highest, await walBytes(dataDir))
    console.log(`WAL: at most ${(highest / MIB).toFixed(0)} MiB of ${walBytesMax / MIB}`)
    expect(highest).toBeLessThan(walBytesMax)
    const files = await readdir(join(dataDir, 'wal'))
    // The segment with the cold record is gone: it did not stay below the cap by being small.
    expect(files).not.toContain('0000000000000001.wal')
    expect(await broker.stop()).toBe(0)
  } finally {
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
})
