import { request } from 'node:http'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { until } from '../../support/until.js'
import { startHttp } from './harness.js'

describe('a client that leaves in the middle of an answer', () => {
  it.each([
    ['of events', '/v1/topics/a/events?from=earliest'],
    ['of a stream as events', '/v1/stream/s?offset=-1&live=sse'],
  ])('%s is no error of the broker', async (_, path) => {
    const lines: string[] = []
    const sink = new Writable({
      write(line: Buffer, _encoding, done) {
        lines.push(line.toString())
        done()
      },
    })
    const http = await startHttp({ log: pino({ level: 'warn' }, sink) })
    await http.createTopic('a')
    await http.post('/v1/topics/a/records', [{ value: 1 }])
    await http.askPlainly('PUT', '/v1/stream/s', { headers: { 'content-type': 'text/plain' }, body: 'x' })
    await new Promise<void>((resolve) => {
      const asked = request(`${http.url}${path}`, { agent: false }, (response) => {
        response.once('data', () => {
          asked.destroy()
          resolve()
        })
        response.on('error', () => {})
      })
      asked.on('error', () => {})
      asked.end()
    })
    await until(async () => http.broker.metrics.read('httpRequestsOpen') === 0)
    // Whatever comes of it has come when a later request is answered.
    await http.get('/v1/topics/a')
    await http.get('/v1/topics/a')
    expect(lines).toEqual([])
  })
})
