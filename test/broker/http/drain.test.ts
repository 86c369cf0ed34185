import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { FakeShard } from '../../support/fake-shard.js'
import { until } from '../../support/until.js'
import { startFace, startHttp } from './harness.js'

describe('a broker that stops', () => {
  it('answers what it has begun, and takes no more', async () => {
    const http = await startHttp({ drainMs: 5_000 })
    await http.createTopic('a')
    const bytes = '{"value":1}'
    const head = `POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`
    const slow = await http.connect()
    const idle = await http.connect()
    let answer = ''
    slow.on('data', (data: Buffer) => {
      answer += data.toString()
    })
    slow.write(`${head}Content-Length: ${bytes.length}\r\n\r\n${bytes.slice(0, 5)}`)
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    let isClosed = false
    const closed = http.broker.close().then(() => {
      isClosed = true
    })
    // The port is closed at once; what has begun goes on.
    await expect(fetch(`${http.url}/livez`)).rejects.toThrow()
    expect(isClosed).toBe(false)
    slow.write(bytes.slice(5))
    await closed
    expect(answer).toContain('HTTP/1.1 200')
    expect(answer.toLowerCase()).toContain('connection: close')
    idle.destroy()
    const again = await startHttp({ dataDir: http.dataDir })
    expect(await again.recordsIn('a')).toBe(1)
  })

  it('refuses mutations on connections that are still open', async () => {
    const http = await startHttp({ drainMs: 5_000 })
    await http.createTopic('a')
    const socket = await http.connect()
    let answers = ''
    socket.on('data', (data: Buffer) => {
      answers += data.toString()
    })
    const body = '{"value":1}'
    const post = `POST /v1/topics/a/records HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
    // Two requests on one connection: the first is under way when the stop begins, the second comes after.
    socket.write(`${post}${body.slice(0, 3)}`)
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    const closed = http.broker.close()
    socket.write(`${body.slice(3)}${post}${body}`)
    await closed
    expect(answers).toContain('HTTP/1.1 200')
    if (answers.includes('HTTP/1.1 503')) expect(answers).toContain('SHUTTING_DOWN')
    const again = await startHttp({ dataDir: http.dataDir })
    expect(await again.recordsIn('a')).toBe(1)
  })

  it('does not wait longer than drainMs for a client that never ends its request', async () => {
    const http = await startHttp({ drainMs: 300 })
    const socket = await http.connect()
    socket.on('error', () => {})
    socket.write(
      'POST /v1/topics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{',
    )
    await until(() => (http.broker.metrics.read('httpRequestsOpen') ?? 0) > 0)
    await http.broker.close()
  })
})

describe('requests that are not answered', () => {
  it('are bounded, however many come on one connection, but for those who ask for the health', async () => {
    const shard = new FakeShard()
    shard.addTopic({ name: 'a' })
    const { port, face } = await startFace(shard, { limits: { requestsMax: 20 } })
    const socket = connect(port, '127.0.0.1')
    const wait = 'GET /v1/topics/a/partitions/0/records?wait=60000 HTTP/1.1\r\nHost: x\r\n\r\n'
    socket.write(wait.repeat(20))
    await until(() => shard.followers === 20)
    const refused = await fetch(`http://127.0.0.1:${port}/v1/topics`)
    expect([refused.status, (await refused.json()).error.code]).toEqual([503, 'BACKPRESSURE'])
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200)
    socket.destroy()
    await until(() => face.drain.requests === 0 && shard.followers === 0)
    expect((await fetch(`http://127.0.0.1:${port}/v1/topics`)).status).toBe(200)
  })
})
