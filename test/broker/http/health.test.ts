import { describe, expect, it } from 'vitest'
import { DiskError } from '../../../broker/platform/disk.js'
import { ArmedFailpoints } from '../../../broker/platform/failpoints.js'
import { FakeShard } from '../../support/fake-shard.js'
import { noChunks } from '../../support/no-chunks.js'
import { noGroups } from '../../support/no-groups.js'
import { noStreams } from '../../support/no-streams.js'
import { startFace, startHttp } from './harness.js'

async function startAsking(...face: Parameters<typeof startFace>) {
  const started = await startFace(...face)
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(`http://127.0.0.1:${started.port}${path}`, init)
    const text = await response.text()
    return { status: response.status, code: text.startsWith('{') ? JSON.parse(text).error.code : text }
  }
  return { ...started, ask }
}

describe('the health of a broker', () => {
  it('is alive from the first moment, but not ready before it has recovered', async () => {
    const { face, ask } = await startAsking()
    expect(await ask('/livez')).toEqual({ status: 200, code: 'ok\n' })
    expect(await ask('/livez', { method: 'HEAD' })).toEqual({ status: 200, code: '' })
    for (const path of ['/readyz', '/v1/topics', '/ws', '/metrics'])
      expect(await ask(path)).toEqual({ status: 503, code: 'NOT_READY' })
    expect(await ask('/v1/topics', { method: 'POST', body: '{}' })).toEqual({
      status: 503,
      code: 'NOT_READY',
    })
    face.serve({
      shard: new FakeShard(),
      groups: noGroups,
      streams: noStreams,
      partitionSizes: () => undefined,
      sealed: noChunks,
    })
    expect(await ask('/readyz')).toEqual({ status: 200, code: 'ok\n' })
  })

  it('says why it is not ready: a nearly full disk, a failed write, its end', async () => {
    let isFull = true
    const { health, ask } = await startAsking(new FakeShard(), { isDiskFull: () => isFull })
    expect(await ask('/readyz')).toEqual({ status: 503, code: 'DISK_FULL' })
    isFull = false
    expect((await ask('/readyz')).status).toBe(200)
    health.stopping()
    expect(await ask('/readyz')).toEqual({ status: 503, code: 'SHUTTING_DOWN' })
    health.failed(new Error('EIO'))
    expect(await ask('/readyz')).toEqual({ status: 503, code: 'STORAGE_FAILED' })
    expect(await ask('/livez')).toEqual({ status: 200, code: 'ok\n' })
  })

  it('is that of a real broker: ready, and below the watermark of its disk not', async () => {
    const http = await startHttp()
    expect((await http.get('/readyz')).text).toBe('ok\n')
    const full = await startHttp({ diskFreeBytesMin: 2 ** 45 })
    const refused = await full.get('/readyz')
    expect([refused.status, refused.json.error.code]).toEqual([503, 'DISK_FULL'])
    await full.createTopic('a')
    const produced = await full.post('/v1/topics/a/records', { value: 1 })
    expect([produced.status, produced.json.error.code]).toEqual([507, 'DISK_FULL'])
    expect(produced.headers['retry-after']).toBe('1')
  })

  it('is that of a real broker whose write to the log failed: alive, not ready, and nothing is acknowledged', async () => {
    const failpoints = new ArmedFailpoints()
    const http = await startHttp({}, { failpoints })
    await http.createTopic('a')
    expect((await http.get('/readyz')).status).toBe(200)
    failpoints.arm('walBeforeWrite', () => {
      throw new DiskError({ operation: 'write', path: 'a.wal', code: 'EIO' })
    })
    const outcomes = [await http.post('/v1/topics/a/records', { value: 1 }), await http.get('/readyz')]
    expect(outcomes.map(({ status, json }) => [status, json.error.code])).toEqual([
      [500, 'STORAGE_FAILED'],
      [503, 'STORAGE_FAILED'],
    ])
    const again = await http.post('/v1/topics/a/records', { value: 2 })
    expect(again.json.error.code).toBe('STORAGE_FAILED')
    expect((await http.get('/livez')).text).toBe('ok\n')
  })
})
