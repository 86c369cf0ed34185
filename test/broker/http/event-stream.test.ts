import { describe, expect, it } from 'vitest'
import { Drain } from '../../../broker/http/drain.js'
import { EventStream } from '../../../broker/http/event-stream.js'
import { DEFAULT_HTTP_LIMITS } from '../../../broker/http/limits.js'
import { PageReader } from '../../../broker/http/page-reader.js'
import { noMetrics } from '../../../broker/platform/metrics.js'
import { FakeShard } from '../../support/fake-shard.js'
import { ManualClock } from '../../support/manual-clock.js'
import { until } from '../../support/until.js'
import { startFace } from './harness.js'

describe('a stream of events', () => {
  it('says how soon to come back, and is never silent for long', async () => {
    const shard = new FakeShard()
    const clock = new ManualClock()
    const topic = shard.addTopic({ name: 'a' })
    const pages = new PageReader({
      clock,
      metrics: noMetrics,
      drain: new Drain(),
      limits: DEFAULT_HTTP_LIMITS,
    })
    const gone = new AbortController()
    const events = new EventStream({
      ...{ shard, topic, pages, clock, requestId: 'r', signal: gone.signal },
      positions: new Map([[0, 0]]),
    }).read()
    const next = async () => String((await events.next()).value)
    expect(await next()).toBe('retry: 1000\n\n')
    for (let times = 0; times < 3; times++) {
      const comment = next()
      // It has read that there is nothing, and waits.
      await until(() => clock.timers === 1)
      clock.advance(15_000)
      expect(await comment).toBe(':\n\n')
    }
    const end = events.next()
    gone.abort()
    expect((await end).done).toBe(true)
    expect(shard.followers).toBe(0)
  })

  it('follows no more partitions together than an id has room for', async () => {
    const shard = new FakeShard()
    shard.addTopic({ name: 'fits', partitions: 100 })
    shard.addTopic({ name: 'wide', partitions: 101 })
    const { port } = await startFace(shard)
    const url = (topic: string) => `http://127.0.0.1:${port}/v1/topics/${topic}/events`
    const refused = await fetch(url('wide'))
    expect([refused.status, (await refused.json()).error.code]).toEqual([400, 'ILLEGAL_ARGUMENT'])
    const served = await fetch(url('fits'))
    expect([served.status, served.headers.get('x-accel-buffering')]).toEqual([200, 'no'])
    await served.body?.cancel()
  })
})
