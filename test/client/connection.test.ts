import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type ClientEvent,
  type ConnectOptions,
  connect,
  defineTopic,
  MillraceError,
  text,
} from '../../client/index.js'
import type { OpenSocket, Socket, SocketListener } from '../../client/platform/socket.js'
import { packFrame } from '../../protocol/frame.js'
import { clusterIdFrom } from '../../protocol/ids.js'
import { DEFAULT_LIMITS } from '../../protocol/limits.js'
import { hello, welcome } from '../../protocol/messages/index.js'
import { ManualClock } from '../support/manual-clock.js'
import { ScriptedBroker, type Verdict } from '../support/scripted-broker.js'

const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

let broker: ScriptedBroker
const closers: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  broker = await ScriptedBroker.start()
})

afterEach(async () => {
  for (const close of closers.splice(0)) await close()
  await broker.stop()
})

function connectTo(url: string, options: ConnectOptions = {}) {
  const events: ClientEvent[] = []
  const client = connect(url, {
    backoffBaseMs: 1,
    backoffCapMs: 10,
    ...options,
    onEvent: (event) => events.push(event),
  })
  closers.push(() => client.close({ drainMs: 0 }))
  return { client, events, types: () => events.map(({ type }) => type) }
}

const welcomeFrame = packFrame(
  welcome.write({
    correlationId: 1,
    version: 1,
    clusterId: clusterIdFrom('c'.repeat(32)),
    shardEpoch: 1,
    brokerName: 'stub',
    limits: { ...DEFAULT_LIMITS, producerWindowBatches: 16 },
    features: [],
    time: 0,
  }),
)

const failureOf = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: MillraceError) => error,
  )

describe('connect', () => {
  it('asks nothing of the broker before the first call', async () => {
    const { client } = connectTo(broker.url)
    client.producer(Lines)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(broker.connections).toBe(0)
    await client.listTopics()
    expect(broker.connections).toBe(1)
  })

  it.each(['', 'nowhere', 'ftp://host', 'ws://host/#x'])('refuses "%s" as a URL', (url) => {
    expect(() => connect(url)).toThrow(MillraceError)
  })

  it('asks for the token at every connection', async () => {
    let tokens = 0
    const { client } = connectTo(broker.url, { token: async () => `token-${++tokens}` })
    await client.listTopics()
    broker.cutAll()
    await expect.poll(() => broker.credentials.length).toBe(2)
    expect(broker.credentials.map((one) => new TextDecoder().decode(one ?? undefined))).toEqual([
      'token-1',
      'token-2',
    ])
  })

  it('tries again when the token cannot be got', async () => {
    let tries = 0
    const token = () => {
      if (++tries < 3) throw new Error('no network')
      return 'token'
    }
    const { client, types } = connectTo(broker.url, { token })
    await client.listTopics()
    expect(types()).toEqual(['reconnecting', 'reconnecting', 'connected'])
  })
})

describe('a lost connection', () => {
  it('is told of, and made again', async () => {
    const { client, events, types } = connectTo(broker.url)
    await client.listTopics()
    broker.cutAll()
    await expect.poll(() => broker.connections).toBe(2)
    await client.listTopics()
    expect(types()).toEqual(['connected', 'disconnected', 'reconnecting', 'connected'])
    expect(events[0]).toMatchObject({ brokerName: 'scripted/0', clusterId: 'c'.repeat(32), connections: 1 })
    expect(events[1]).toMatchObject({ error: { code: 'CONNECTION_LOST' } })
    expect(events[3]).toMatchObject({ connections: 2 })
  })

  it('repeats a mutation under the same request id, so it is done once', async () => {
    const requestIds: unknown[] = []
    broker.script = ({ name, fields, count }): Verdict => {
      if (name !== 'CREATE_TOPIC') return undefined
      requestIds.push(fields.requestId)
      return count === 1 ? 'loseAnswer' : undefined
    }
    const { client } = connectTo(broker.url)
    await client.createTopic(Lines)
    expect(requestIds.length).toBe(2)
    expect(new Set(requestIds).size).toBe(1)
    expect((await failureOf(client.createTopic(Lines))).code).toBe('TOPIC_EXISTS')
  })

  it('is found out by a PING when nothing else says so', async () => {
    broker.script = ({ name }): Verdict => (name === 'PING' ? 'ignore' : undefined)
    const { client, events } = connectTo(broker.url, { pingIntervalMs: 20, pingTimeoutMs: 20 })
    await client.listTopics()
    await expect.poll(() => broker.connections).toBeGreaterThan(1)
    expect(events.find(({ type }) => type === 'disconnected')).toMatchObject({
      error: { code: 'CONNECTION_LOST', message: expect.stringContaining('silent') },
    })
  })

  it('is none as long as PINGs are answered', async () => {
    const { client, types } = connectTo(broker.url, { pingIntervalMs: 5, pingTimeoutMs: 5_000 })
    await client.listTopics()
    await expect.poll(() => broker.countOf('PING')).toBeGreaterThan(5)
    expect(types()).toEqual(['connected'])
  })
})

describe('a call', () => {
  it('ends with TIMEOUT and the reason when there is no broker', async () => {
    await broker.stop()
    const { client } = connectTo(broker.url, { requestTimeoutMs: 500 })
    const error = await failureOf(client.createTopic(Lines))
    expect(error).toMatchObject({ code: 'TIMEOUT', outcome: 'notWritten', retriable: true })
    expect(error.message).toContain('ECONNREFUSED')
    await broker.restart()
  })

  it('ends with TIMEOUT and outcome unknown when a mutation is never answered', async () => {
    broker.script = ({ name }): Verdict => (name === 'CREATE_TOPIC' ? 'loseAnswer' : undefined)
    const { client } = connectTo(broker.url, { requestTimeoutMs: 500 })
    expect(await failureOf(client.createTopic(Lines))).toMatchObject({ code: 'TIMEOUT', outcome: 'unknown' })
  })

  it('waits out a refusal that passes, and gives the refusal itself when it does not', async () => {
    broker.script = ({ name, count }): Verdict =>
      name === 'CREATE_TOPIC' && count < 3
        ? new MillraceError('BACKPRESSURE', { retryAfterMs: 1 })
        : undefined
    const { client } = connectTo(broker.url)
    await client.createTopic(Lines)
    broker.script = ({ name }): Verdict =>
      name === 'DELETE_TOPIC' ? new MillraceError('DISK_FULL', { message: 'no space' }) : undefined
    expect(await failureOf(client.deleteTopic(Lines, { timeoutMs: 600 }))).toMatchObject({
      code: 'DISK_FULL',
      message: 'no space',
    })
  })

  it('asks the broker it was given again when that is not the leader, and takes its credential to no other', async () => {
    const other = await ScriptedBroker.start()
    closers.push(() => other.stop())
    broker.script = ({ name, count }): Verdict =>
      name === 'CREATE_TOPIC' && count < 3
        ? new MillraceError('NOT_LEADER', { retryAfterMs: 1, details: { leader: other.url } })
        : undefined
    const { client } = connectTo(broker.url, { token: 'secret' })
    await client.createTopic(Lines)
    expect(broker.countOf('CREATE_TOPIC')).toBe(3)
    expect(other.connections).toBe(0)
  })

  it('ends with the reason of its signal', async () => {
    await broker.stop()
    const { client } = connectTo(broker.url)
    await expect(client.listTopics({ signal: AbortSignal.timeout(20) })).rejects.toThrow(
      'aborted due to timeout',
    )
    await expect(client.listTopics({ signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
    await broker.restart()
  })

  it('ends with CLOSED when the client is closed', async () => {
    await broker.stop()
    const { client } = connectTo(broker.url)
    const waiting = failureOf(client.listTopics())
    await client.close()
    expect((await waiting).code).toBe('CLOSED')
    expect((await failureOf(client.listTopics())).code).toBe('CLOSED')
    expect(() => client.read(Lines)).toThrow('the client is closed')
    await broker.restart()
  })
})

describe('a refusal for good', () => {
  it.each(['UNAUTHENTICATED', 'UNSUPPORTED_VERSION'] as const)(
    '(%s) fails what waits instead of looping',
    async (code) => {
      broker.script = ({ name }): Verdict => (name === 'HELLO' ? new MillraceError(code) : undefined)
      const { client, types } = connectTo(broker.url)
      const producer = client.producer(Lines)
      const failures = [
        failureOf(client.listTopics()),
        failureOf(producer.send({ value: 'x' })),
        failureOf(client.read(Lines).next()),
      ]
      expect((await Promise.all(failures)).map((error) => error.code)).toEqual([code, code, code])
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(types()).toEqual(['refused'])
      expect(broker.connections).toBe(1)
      broker.script = () => undefined
      broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
      await producer.send({ value: 'y' })
    },
  )

  it('may come as an HTTP status', async () => {
    const server: Server = createServer()
    server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => new Promise((resolve) => server.close(resolve)))
    const { client } = connectTo(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
    expect((await failureOf(client.listTopics())).code).toBe('UNAUTHENTICATED')
  })
})

describe('close', () => {
  it('sends what producers hold, within drainMs', async () => {
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    const { client } = connectTo(broker.url)
    const sent = client.producer(Lines).send({ value: 'x' })
    await client.close({ drainMs: 5_000 })
    expect(await sent).toMatchObject({ offset: 0 })
  })

  it('gives up on what does not go, and says what is known of it', async () => {
    broker.createTopic({ name: 'lines', partitions: 1, keyEncoding: 'text', valueEncoding: 'text' })
    broker.script = ({ name }): Verdict => (name === 'PRODUCE' ? 'ignore' : undefined)
    const { client } = connectTo(broker.url)
    const producer = client.producer(Lines, { batchBytes: 1, maxInFlight: 1 })
    const sends = [
      failureOf(producer.send({ value: 'sent' })),
      failureOf(producer.send({ value: 'waiting' })),
    ]
    await expect.poll(() => broker.countOf('PRODUCE')).toBe(1)
    await client.close({ drainMs: 30 })
    expect(await Promise.all(sends)).toMatchObject([
      { code: 'CLOSED', outcome: 'unknown' },
      { code: 'CLOSED', outcome: 'notWritten' },
    ])
  })
})

describe('the pauses between attempts', () => {
  it('double up to a cap, with jitter, and are short again after a connection that held', async () => {
    const clock = new ManualClock()
    const opened: SocketListener[] = []
    const openSocket: OpenSocket = (_options, listener): Socket => {
      opened.push(listener)
      const end = (): void => listener.onClose({ code: 1006, reason: '' })
      const send = (message: Uint8Array): void => {
        if (message[1] === hello.opcode) queueMicrotask(() => listener.onMessage(welcomeFrame))
      }
      return { send, close: end, terminate: end }
    }
    const lose = async (): Promise<void> => {
      opened.at(-1)?.onClose({ code: 1006, reason: '' })
      await clock.advanceAndSettle(delays.at(-1) ?? 0)
    }
    const hold = async (ms: number): Promise<void> => {
      opened.at(-1)?.onOpen()
      await clock.advanceAndSettle(ms)
    }
    const delays: number[] = []
    const client = connect(
      'ws://broker',
      { onEvent: (event) => void (event.type === 'reconnecting' && delays.push(event.delayMs)) },
      { clock, openSocket, random: { fraction: () => 0.5, bytes: (count) => new Uint8Array(count) } },
    )
    const listing = failureOf(client.listTopics({ timeoutMs: 1_000_000 }))
    await clock.advanceAndSettle(0)
    for (let i = 0; i < 8; i++) await lose()
    expect(delays).toEqual([50, 100, 200, 400, 800, 1600, 2500, 2500])
    await hold(4_000)
    await lose()
    expect(delays.at(-1)).toBe(2500)
    await hold(6_000)
    await lose()
    expect(delays.at(-1)).toBe(50)
    await client.close()
    expect((await listing).code).toBe('CLOSED')
    expect(clock.timers).toBe(0)
  })
})
