import { once } from 'node:events'
import { request } from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { ping, pong } from '../../../protocol/messages/index.js'
import { until } from '../../support/until.js'
import { startHarness } from './harness.js'
import { WireClient } from './wire-client.js'

interface Answer {
  readonly status: number
  readonly body: string
}

/** Asks for an upgrade with exactly these headers; undefined drops one of the usual ones. */
function upgrade(
  port: number,
  options: { path?: string; headers?: Record<string, string | undefined> } = {},
): Promise<Answer> {
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-protocol': 'millrace.v1',
    ...options.headers,
  }
  const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
  return new Promise((resolve, reject) => {
    const asked = request({
      host: '127.0.0.1',
      port,
      path: options.path ?? '/ws',
      headers: given as Record<string, string>,
    })
    asked.on('error', reject)
    asked.on('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode ?? 0, body: '' })
    })
    asked.on('response', (response) => {
      let body = ''
      response.on('data', (data: Buffer) => {
        body += data.toString()
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
    })
    asked.end()
  })
}

describe('an upgrade', () => {
  it('is taken at /ws with the subprotocol, which is confirmed', async () => {
    const { connect } = await startHarness()
    const client = await connect()
    expect(client.webSocket.protocol).toBe('millrace.v1')
    expect(client.webSocket.extensions).toBe('')
  })

  it('finds its subprotocol among others', async () => {
    const { listener } = await startHarness()
    const webSocket = new WebSocket(`ws://127.0.0.1:${listener.port}/ws?x=1`, ['other.v2', 'millrace.v1'])
    await once(webSocket, 'open')
    expect(webSocket.protocol).toBe('millrace.v1')
    webSocket.terminate()
  })

  const refusals: [what: string, options: Parameters<typeof upgrade>[1], status: number, body: RegExp][] = [
    ['without a subprotocol', { headers: { 'sec-websocket-protocol': undefined } }, 400, /millrace\.v1/],
    [
      'with another subprotocol',
      { headers: { 'sec-websocket-protocol': 'millrace.v2, mqtt' } },
      400,
      /millrace\.v1/,
    ],
    ['at another path', { path: '/socket' }, 404, /\/ws/],
    ['with no key', { headers: { 'sec-websocket-key': undefined } }, 400, /Sec-WebSocket-Key/],
    ['with an old version', { headers: { 'sec-websocket-version': '7' } }, 400, /Sec-WebSocket-Version/],
    ['to something else', { headers: { upgrade: 'h2c' } }, 400, /Upgrade/],
    ['from a page of another host', { headers: { origin: 'https://evil.example' } }, 403, /evil\.example/],
  ]
  it.each(refusals)('%s is refused and says why', async (_what, options, status, body) => {
    const { listener, metrics } = await startHarness()
    const answer = await upgrade(listener.port, options)
    expect(answer.status).toBe(status)
    expect(answer.body).toMatch(body)
    expect(metrics.snapshot().gauges.connections).toBe(0)
  })

  it('is refused with 503 past the cap, and taken again when there is room', async () => {
    const { listener, connect, metrics } = await startHarness({ limits: { connectionsMax: 2 } })
    const first = await connect()
    await connect()
    const refused = await upgrade(listener.port)
    expect(refused).toMatchObject({ status: 503, body: expect.stringContaining('2 connections') })
    await first.close()
    await until(() => listener.connections === 1)
    await connect()
    expect(metrics.snapshot().counters).toMatchObject({ connectionsOpened: 3, connectionsRefused: 1 })
  })

  it('from a page that is allowed is taken', async () => {
    const { connect } = await startHarness({ allowedOrigins: ['https://app.example'] })
    const client = await connect({ headers: { origin: 'https://app.example' } })
    expect(await client.request(ping, {}, pong)).toBeDefined()
  })

  it('that is malformed, cut or flooded does the broker no harm', async () => {
    const { listener, connect } = await startHarness()
    const head = 'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    const key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
    const rest = 'Sec-WebSocket-Protocol: millrace.v1\r\n'
    const pieces = [
      '\0\x01\x02garbage\r\n\r\n',
      'GET\r\n\r\n',
      head,
      `${head}\r\n`,
      `${head}${key}${rest}${'X: y\r\n'.repeat(5_000)}\r\n`,
      `${head}${key}${rest}Origin: http://[broken\r\n\r\n`,
      `${head}${key}Sec-WebSocket-Protocol: ,,;=\r\n\r\n`,
      `${head}${key}${rest}\r\n${'\xff'.repeat(1_000)}`,
      `POST${head.slice(3)}${key}${rest}\r\n`,
    ]
    const sockets: Socket[] = []
    for (let round = 0; round < 20; round++) {
      for (const piece of pieces) {
        const socket = connectTcp(listener.port, '127.0.0.1')
        socket.on('error', () => {})
        socket.write(piece, 'latin1', () => {
          if (round % 3 === 0) socket.resetAndDestroy()
          else if (round % 3 === 1) socket.end()
        })
        sockets.push(socket)
      }
    }
    const client = await connect()
    expect(await client.request(ping, {}, pong)).toBeDefined()
    for (const socket of sockets) socket.destroy()
    await until(() => listener.connections === 1)
  })
})

describe('plain HTTP on the same port', () => {
  it('answers /livez, tells a request at /ws to upgrade, and knows nothing else', async () => {
    const { listener } = await startHarness()
    const at = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${listener.port}${path}`)
      return { status: response.status, body: await response.text() }
    }
    expect(await at('/livez')).toEqual({ status: 200, body: 'ok\n' })
    expect((await at('/ws')).status).toBe(426)
    expect((await at('/')).status).toBe(404)
  })

  it('stands beside open WebSockets, and both end with the listener', async () => {
    const { listener } = await startHarness()
    const client = await WireClient.open(listener.port)
    await fetch(`http://127.0.0.1:${listener.port}/livez`)
    await listener.close({ drainMs: 1_000 })
    expect((await client.closed).code).toBe(1001)
    await expect(fetch(`http://127.0.0.1:${listener.port}/livez`)).rejects.toThrow()
  })
})

describe('a listener whose port is taken', () => {
  it('rejects with the reason', async () => {
    const { listener } = await startHarness()
    await expect(startHarness({ port: listener.port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})
