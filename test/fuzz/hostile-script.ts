/** A process of peers that mean harm, or are broken. It says "ready" once they are in place, and answers "report". */
import { createConnection, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { packFrame, unpackFrame } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'

const { HOSTILE_KIND = '', HOSTILE_PORT = '', HOSTILE_TOPIC = '' } = process.env
const port = Number(HOSTILE_PORT)
const topicId = HOSTILE_TOPIC as TopicId
/** What became of the peers: by close code, or by error code. */
const report: Record<string, number> = {}
const count = (what: string, by = 1): void => {
  report[what] = (report[what] ?? 0) + by
}

const HELLO = packFrame(
  messages.hello.write({
    correlationId: 1,
    minVersion: 1,
    maxVersion: 1,
    clientName: 'hostile',
    credential: null,
    features: ['groups'],
  }),
)
const CREDIT_MAX = 268_435_456

async function open({ reads = true }: { reads?: boolean } = {}): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, 'millrace.v1', { perMessageDeflate: false })
  socket.on('error', () => count('error'))
  socket.on('close', (code) => count(`closed ${code}`))
  socket.on('message', (data: Buffer) => {
    const frame = unpackFrame(data)
    count(frame[0] === messages.error.opcode ? String(frame[2]) : 'answer')
  })
  await new Promise((resolve) => socket.once('open', resolve).once('close', resolve))
  socket.send(HELLO)
  if (!reads) socket.pause()
  count('opened')
  return socket
}

const many = <T>(n: number, make: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: n }, (_, i) => make(i)))

/** A TCP connection to which these bytes are sent, and no more. */
function openRaw(text: string): Promise<Socket> {
  const socket = createConnection({ port, host: '127.0.0.1' })
  socket.on('error', () => count('error'))
  socket.on('close', () => count('closed'))
  socket.on('data', () => {})
  return new Promise((resolve) =>
    socket.on('connect', () => {
      socket.write(text)
      count('opened')
      resolve(socket)
    }),
  )
}

const UPGRADE =
  'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: millrace.v1\r\n\r\n'

const subscribe = (subscriptionId: number, creditBytes: number): Uint8Array =>
  packFrame(
    messages.subscribe.write({
      correlationId: subscriptionId + 2,
      subscriptionId,
      topicId,
      partition: 0,
      offset: 0,
      creditBytes,
    }),
  )
const metadata = (correlationId: number): Uint8Array =>
  packFrame(messages.metadata.write({ correlationId, names: null, after: null, limit: null }))
const ping = (correlationId: number): Uint8Array => packFrame(messages.ping.write({ correlationId }))
const credit = (subscriptionId: number, bytes: number): Uint8Array =>
  packFrame(messages.credit.write({ subscriptionId, bytes }))

/** Sends as fast as the socket takes it. */
async function flood(socket: WebSocket, frame: (n: number) => Uint8Array): Promise<never> {
  for (let n = 2; ; n++) {
    for (let i = 0; i < 200; i++) socket.send(frame(n++))
    count('sent', 200)
    do await sleep(1)
    while (socket.bufferedAmount > 1_000_000)
  }
}

const kinds: Record<string, () => Promise<unknown>> = {
  halfOpen: async () => {
    await many(100, () => openRaw(''))
    await many(100, () => openRaw(UPGRADE.slice(0, 60)))
    await many(100, () => openRaw(UPGRADE))
  },
  oneByteAtATime: async () => {
    const sockets = await many(50, () => openRaw(UPGRADE))
    // A message of 8 MB is announced, of which a byte comes now and then.
    for (const socket of sockets)
      socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x7a, 0x12, 0, 0, 0, 0, 0]))
    setInterval(() => {
      for (const socket of sockets) socket.write(Buffer.from([0x91]))
    }, 50)
  },
  tinyFrames: async () => {
    const sockets = await many(4, () => open())
    for (const [i, socket] of sockets.entries())
      void flood(socket, (n) => (i % 2 === 0 ? ping(n) : credit(n, 1)))
  },
  subscriptions: async () => {
    const sockets = await many(5, () => open())
    for (const socket of sockets) for (let id = 0; id < 1_010; id++) socket.send(subscribe(id, 100))
  },
  absurdCredit: async () => {
    const sockets = await many(10, () => open({ reads: false }))
    for (const socket of sockets) {
      socket.send(subscribe(0, CREDIT_MAX))
      for (let i = 0; i < 1_000; i++) socket.send(credit(0, CREDIT_MAX))
    }
  },
  neverReading: async () => {
    const sockets = await many(60, () => open({ reads: false }))
    for (const socket of sockets) for (let id = 0; id < 5; id++) socket.send(subscribe(id, CREDIT_MAX))
  },
  reconnects: async () => {
    const storm = async (): Promise<never> => {
      for (;;) {
        const socket = await open()
        socket.send(subscribe(1, 10_000))
        socket.terminate()
      }
    }
    for (let i = 0; i < 20; i++) void storm()
  },
  unreadAnswers: async () => {
    const sockets = await many(8, () => open({ reads: false }))
    for (const [i, socket] of sockets.entries())
      void flood(socket, (n) => (i % 2 === 0 ? metadata(n) : ping(n)))
  },
}

await kinds[HOSTILE_KIND]?.()
console.log('"ready"')
for await (const line of createInterface(process.stdin))
  if (line === 'report') console.log(JSON.stringify(report))
