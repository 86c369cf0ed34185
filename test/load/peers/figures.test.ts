import { describe, expect, it } from 'vitest'
import {
  consume,
  consumeBatches,
  loneSends,
  produceBatches,
  produceEach,
  queue,
} from '../../../load/peers/figures.js'
import type { PeerStream, PeerValue } from '../../../load/peers/peer-stream.js'

/** A stream in memory, whose faults a figure must notice. */
class FakeStream implements PeerStream {
  readonly values: string[] = []
  readonly lostEvery: number
  left = 0

  constructor({ lostEvery = Number.POSITIVE_INFINITY } = {}) {
    this.lostEvery = lostEvery
  }

  async send(value: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    if ((this.values.length + 1) % this.lostEvery !== 0) this.values.push(value)
  }

  async sendBatch(values: readonly string[]): Promise<void> {
    for (const value of values) await this.send(value)
  }

  async read(records: number, onBatch: (values: Iterable<PeerValue>, count: number) => void): Promise<void> {
    for (let at = 0; at < records; at += 300) {
      const batch = this.values.slice(at, Math.min(at + 300, records))
      onBatch(batch, batch.length)
    }
  }

  async work(jobs: number): Promise<void> {
    this.left += this.values.length - jobs
  }

  async unacknowledgedJobs(): Promise<number> {
    return this.left
  }

  async stored(): Promise<number> {
    return this.values.length
  }

  async remove(): Promise<void> {}
}

describe('a figure of a peer', () => {
  it('counts what is acknowledged in several lanes at once', async () => {
    const each = new FakeStream()
    const recordsPerSecond = await produceEach(each, { recordBytes: 10, ms: 40, inFlight: 400 })
    // Warming up sends as well, so there is more in the stream than was counted.
    expect(recordsPerSecond).toBeGreaterThan(0)
    expect(recordsPerSecond * 0.04).toBeLessThan(each.values.length)
    expect(await produceBatches(new FakeStream(), { recordBytes: 10, ms: 20 })).toBeGreaterThan(0)
  })

  it('fails when an acknowledged record is not stored', async () => {
    const lossy = (): FakeStream => new FakeStream({ lostEvery: 7 })
    const missing = /stored: \d+ where \d+ should be/
    await expect(produceEach(lossy(), { recordBytes: 10, ms: 20, inFlight: 40 })).rejects.toThrow(missing)
    await expect(produceBatches(lossy(), { recordBytes: 10, ms: 20 })).rejects.toThrow(missing)
    await expect(consume(lossy(), { recordBytes: 10, records: 50 })).rejects.toThrow(missing)
    await expect(consumeBatches(lossy(), { recordBytes: 10, records: 50 })).rejects.toThrow(missing)
    await expect(loneSends(lossy(), { recordBytes: 10, count: 20 })).rejects.toThrow(missing)
    await expect(queue(lossy(), { recordBytes: 10, jobs: 20 })).rejects.toThrow(missing)
  })

  it('reads every record and byte', async () => {
    const stream = new FakeStream()
    expect(await consume(stream, { recordBytes: 10, records: 1_500 })).toBeGreaterThan(0)
    expect(stream.values).toHaveLength(1_500)
    const short = new FakeStream()
    short.send = async () => {
      short.values.push('x')
    }
    await expect(consume(short, { recordBytes: 10, records: 5 })).rejects.toThrow(
      'byte read: 5 where 50 should be',
    )
  })

  it('fails when a job stays unacknowledged', async () => {
    const stream = new FakeStream()
    stream.left = 1
    await expect(queue(stream, { recordBytes: 10, jobs: 5 })).rejects.toThrow('job left unacknowledged: 1')
  })
})
