import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { unpackFrame } from '../../protocol/frame.js'
import { hello, ping, pong } from '../../protocol/messages/index.js'
import { until } from '../support/until.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { FuzzedBroker } from './fuzzed-broker.js'
import { chosen } from './lies.js'
import { encode } from './messagepack.js'

interface SocketRecipe {
  readonly messages: readonly { readonly how: number; readonly n: number }[]
  /** How the connection is broken in the end, and after which message; past the end it is not. */
  readonly breakAfter: number
  readonly breakHow: number
  /** Sizes of the pieces in which all bytes are written, over and over. */
  readonly pieces: readonly number[]
}

const socketRecipe: fc.Arbitrary<SocketRecipe> = fc.record(
  {
    messages: fc.array(fc.record({ how: fc.nat(5), n: fc.nat(200) }, { noNullPrototype: true }), {
      minLength: 1,
      maxLength: 12,
    }),
    breakAfter: fc.nat(16),
    breakHow: fc.nat(9),
    pieces: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }),
  },
  { noNullPrototype: true },
)

let fuzzed: FuzzedBroker

beforeAll(async () => {
  fuzzed = await FuzzedBroker.start()
})

afterAll(async () => {
  await fuzzed.stop()
})

test('messages come through in whatever fragments and pieces, and nothing after the first illegal byte does', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  await runCampaign({ name: 'websocket', recipe: socketRecipe, runs: 60, holds: trySocket })
})

const HELLO = encode(
  hello.write({
    correlationId: 1,
    minVersion: 1,
    maxVersion: 1,
    clientName: 'f',
    credential: null,
    features: [],
  }),
)
const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9 } as const
const CLOSE_CODES = [1002, 1003, 1007, 1009]

/** One WebSocket frame from a client. */
function wsFrame(
  payload: Uint8Array,
  {
    opcode = OPCODE.binary as number,
    isFinal = true,
    reserved = 0,
    isMasked = true,
    saysBytes = payload.length,
  } = {},
): Buffer {
  const mask = Buffer.from([0x12, 0xab, 0x00, 0x9f])
  const extended = saysBytes < 126 ? 0 : saysBytes < 0x1_0000 ? 2 : 8
  const head = Buffer.alloc(2 + extended)
  head[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode
  head[1] = (isMasked ? 0x80 : 0) | (extended === 0 ? saysBytes : extended === 2 ? 126 : 127)
  if (extended === 2) head.writeUInt16BE(saysBytes, 2)
  if (extended === 8) head.writeBigUInt64BE(BigInt(saysBytes), 2)
  if (!isMasked) return Buffer.concat([head, payload])
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ (mask[i % 4] as number))])
}

const NOTHING = new Uint8Array()

/** A PING of the protocol in one of several legal wrappings. */
function wrapped(correlationId: number, { how, n }: SocketRecipe['messages'][number]): Buffer {
  // Long enough for each form of length: a receiver passes over elements that it does not know.
  const filling = how === 4 ? [new Uint8Array(300)] : how === 5 ? [new Uint8Array(70_000)] : []
  const frame = encode([ping.opcode, correlationId, ...filling])
  const at = n % frame.length
  const first = wsFrame(frame.subarray(0, at), { isFinal: false })
  const last = wsFrame(frame.subarray(at), { opcode: OPCODE.continuation })
  if (how === 1) return Buffer.concat([first, last])
  if (how === 2) return Buffer.concat([first, wsFrame(Buffer.from('hi'), { opcode: OPCODE.ping }), last])
  if (how === 3)
    return Buffer.concat([first, wsFrame(NOTHING, { opcode: OPCODE.continuation, isFinal: false }), last])
  return wsFrame(frame)
}

function broken(how: number): Buffer {
  const frame = encode([ping.opcode, 9])
  const ways = [
    wsFrame(frame, { isMasked: false }),
    wsFrame(frame, { reserved: 4 }),
    wsFrame(frame, { opcode: 3 }),
    wsFrame(frame, { opcode: OPCODE.continuation }),
    wsFrame(new Uint8Array(126), { opcode: OPCODE.ping }),
    wsFrame(frame, { opcode: OPCODE.ping, isFinal: false }),
    wsFrame(Buffer.from('some text'), { opcode: OPCODE.text }),
    wsFrame(frame, { saysBytes: 2 ** 53 }),
    wsFrame(frame, { saysBytes: 9 * 1024 * 1024 }),
    Buffer.concat([wsFrame(frame, { isFinal: false }), wsFrame(frame)]),
  ]
  return chosen(ways, how)
}

async function trySocket({ messages, breakAfter, breakHow, pieces }: SocketRecipe): Promise<void> {
  const isBroken = breakAfter < messages.length
  const good = messages.slice(0, isBroken ? breakAfter : messages.length)
  const bytes: Buffer[] = [wsFrame(HELLO), ...good.map((message, i) => wrapped(100 + i, message))]
  if (isBroken) {
    bytes.push(broken(breakHow))
    bytes.push(...messages.slice(breakAfter).map((message, i) => wrapped(500 + i, message)))
  }
  const socket = await upgraded()
  const heard = listen(socket)
  try {
    await writeIn(socket, Buffer.concat(bytes), pieces)
    const due = good.map((_, i) => 100 + i)
    await heard.until(() => heard.pongs.length >= due.length || heard.isOver())
    if (isBroken) {
      await heard.until(heard.isOver)
      if (heard.closeCode !== undefined) expect(CLOSE_CODES).toContain(heard.closeCode)
      // Those that came before may be cut off by the close, but none is passed over and none comes after.
      expect(heard.pongs).toEqual(due.slice(0, heard.pongs.length))
    } else expect(heard.pongs).toEqual(due)
    await fuzzed.assertServes()
  } finally {
    socket.destroy()
  }
  await fuzzed.assertReleased()
}

async function upgraded(): Promise<Socket> {
  const socket = createConnection({ port: fuzzed.broker.port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(
    'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: millrace.v1\r\n\r\n',
  )
  let answer = Buffer.alloc(0)
  while (!answer.includes('\r\n\r\n'))
    answer = Buffer.concat([answer, ...((await once(socket, 'data')) as Buffer[])])
  expect(answer.toString()).toContain('101 Switching Protocols')
  return socket
}

async function writeIn(socket: Socket, bytes: Buffer, pieces: readonly number[]): Promise<void> {
  // The larger ones would take for ever in small pieces.
  const scale = Math.max(1, Math.ceil(bytes.length / 3_000))
  for (let at = 0, i = 0; at < bytes.length && socket.writable; i++) {
    const end = at + scale * (pieces[i % pieces.length] as number)
    socket.write(bytes.subarray(at, end))
    at = end
    await new Promise((resolve) => setImmediate(resolve))
  }
}

interface Heard {
  readonly pongs: number[]
  closeCode: number | undefined
  isOver(): boolean
  until(holds: () => boolean): Promise<void>
}

/** Takes apart what the broker sends: whole, unmasked frames. */
function listen(socket: Socket): Heard {
  let left = Buffer.alloc(0)
  let isEnded = false
  const heard: Heard = {
    pongs: [],
    closeCode: undefined,
    isOver: () => isEnded || heard.closeCode !== undefined,
    until: (holds) =>
      until(holds, { timeoutMs: 30_000, everyMs: 1 }).catch(() => {
        throw new Error(`nothing came after ${JSON.stringify(heard)}`)
      }),
  }
  socket.on('close', () => {
    isEnded = true
  })
  socket.on('data', (data: Buffer) => {
    left = Buffer.concat([left, data])
    while (left.length >= 2) {
      const short = (left[1] as number) & 0x7f
      const head = short < 126 ? 2 : short === 126 ? 4 : 10
      if (left.length < head) return
      const length =
        short < 126 ? short : short === 126 ? left.readUInt16BE(2) : Number(left.readBigUInt64BE(2))
      if (left.length < head + length) return
      take((left[0] as number) & 15, left.subarray(head, head + length))
      left = left.subarray(head + length)
    }
  })
  const take = (opcode: number, payload: Buffer): void => {
    if (opcode === OPCODE.close) heard.closeCode = payload.length < 2 ? 0 : payload.readUInt16BE(0)
    if (opcode !== OPCODE.binary) return
    const [kind, correlationId] = unpackFrame(payload)
    if (kind === pong.opcode) heard.pongs.push(correlationId as number)
  }
  return heard
}
