import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { RawConnection } from '../../load/bench/raw-connection.js'
import { subscribe, subscribed } from '../../protocol/messages/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { writeBytes } from './raw-producer.js'

const isLong = process.env.MILLRACE_LONG === '1'
const GB = 1e9
const bytes = isLong ? 5 * GB : 0.4 * GB
const anonymousBytesMax = 250e6

/** Memory that is the process's own: what neither a file nor another process holds. */
async function anonymousBytes(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  return Number(/^Anonymous:\s+(\d+) kB/m.exec(rollup)?.[1]) * 1024
}

test(`${bytes / GB} GB beside a reader that has stopped cost the broker less than 250 MB of memory`, {
  timeout: 1_800_000,
}, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-memory-'))
  const broker = new BrokerProcess({ dataDir })
  await broker.start()
  try {
    const topicId = await writeBytes({ url: broker.url, topic: 'much', bytes: 1e6, batchBytes: 256 * 1024 })
    const reader = await RawConnection.open(broker.url)
    await reader.hello()
    const asked = subscribe.write({
      correlationId: 3,
      subscriptionId: 1,
      topicId,
      partition: 0,
      offset: 0,
      creditBytes: 256 * 1024 * 1024,
    })
    subscribed.read(await reader.ask(asked))
    reader.socket.pause()
    let highest = 0
    const sampler = setInterval(
      () =>
        // One that was asked for last may find the broker gone.
        void anonymousBytes(broker.pid).then(
          (now) => {
            highest = Math.max(highest, now)
          },
          () => {},
        ),
      200,
    )
    await writeBytes({ url: broker.url, topic: 'much', bytes, batchBytes: 256 * 1024 })
    clearInterval(sampler)
    highest = Math.max(highest, await anonymousBytes(broker.pid))
    console.log(`anonymous memory: at most ${(highest / 1e6).toFixed(0)} MB`)
    expect(highest).toBeGreaterThan(20e6)
    expect(highest).toBeLessThan(anonymousBytesMax)
    expect(reader.socket.readyState).toBe(reader.socket.OPEN)
    reader.socket.terminate()
    expect(await broker.stop()).toBe(0)
  } finally {
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
})
