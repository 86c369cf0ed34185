import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { WebSocket } from 'ws'
import { ByteBudget } from '../../../broker/session/byte-budget.js'
import { ReadGate } from '../../../broker/session/flow-control.js'
import { messageHeaderBytes, writeMessageHeader } from '../../../broker/session/message-header.js'
import { Outbox } from '../../../broker/session/outbox.js'
import { bytesOf } from './harness.js'

/** A socket whose kernel takes what is written when the test says so. */
class SlowSocket extends Writable {
  readonly writes: Buffer[][] = []
  readonly #underWay: (() => void)[] = []

  constructor() {
    super({ highWaterMark: 16 * 1024 })
  }

  override _writev(chunks: { chunk: Buffer }[], callback: () => void): void {
    this.writes.push(chunks.map(({ chunk }) => chunk))
    this.#underWay.push(callback)
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this._writev([{ chunk }], callback)
  }

  /** The write under way is done. */
  async take(): Promise<void> {
    this.#underWay.shift()?.()
    await settled()
  }
}

class FakeReader {
  isPaused = false
  pause(): void {
    this.isPaused = true
  }
  resume(): void {
    this.isPaused = false
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function start(bytesMax = 10_000, budget = new ByteBudget(1e9)) {
  const socket = new SlowSocket()
  const reader = new FakeReader()
  const webSocket = Object.assign(new EventEmitter(), { readyState: 1, OPEN: 1 })
  const drains = { count: 0 }
  const outbox = new Outbox({
    webSocket: webSocket as unknown as WebSocket,
    socket: socket as unknown as Socket,
    gate: new ReadGate(reader),
    bytesMax,
    budget,
    onDrain: () => void drains.count++,
  })
  return { socket, outbox, reader, webSocket, drains }
}

describe('the header of a message', () => {
  it.each([0, 1, 125, 126, 127, 65_535, 65_536, 5_000_000])('of %i bytes is what ws would write', (bytes) => {
    const { Sender } = createRequire(import.meta.url)('ws') as {
      Sender: { frame(data: Buffer, options: object): Buffer[] }
    }
    const header = Buffer.alloc(messageHeaderBytes(bytes))
    writeMessageHeader(header, bytes)
    const [expected] = Sender.frame(Buffer.alloc(bytes), { fin: true, opcode: 2, mask: false })
    expect(header.toString('hex')).toBe(expected?.toString('hex'))
  })
})

describe('an outbox', () => {
  it('sends all messages of one tick in one write', async () => {
    const { socket, outbox } = start(1e9)
    for (let i = 0; i < 50; i++) outbox.send(bytesOf(100))
    outbox.sendParts(bytesOf(10), [bytesOf(100_000)], () => {})
    outbox.send(bytesOf(10_000))
    expect(socket.writes).toHaveLength(0)
    await settled()
    expect(socket.writes).toHaveLength(1)
    await socket.take()
    outbox.send(bytesOf(100))
    await settled()
    expect(socket.writes).toHaveLength(2)
  })

  it('joins the small replies of one tick, and keeps the order of all', async () => {
    const { socket, outbox } = start(1e9)
    for (let i = 0; i < 100; i++) outbox.send(bytesOf(8, i))
    outbox.send(bytesOf(10_000, 1))
    for (let i = 0; i < 100; i++) outbox.send(bytesOf(200, i))
    outbox.sendParts(bytesOf(10), [bytesOf(20_000)], () => {})
    outbox.send(bytesOf(3))
    await settled()
    const pieces = socket.writes[0] ?? []
    expect(pieces.length).toBeLessThan(8)
    const sizes: number[] = []
    const wire = Buffer.concat(pieces)
    for (let at = 0; at < wire.length; ) {
      const length = wire[at + 1] as number
      const bytes = length < 126 ? length : wire.readUInt16BE(at + 2)
      sizes.push(bytes)
      at += messageHeaderBytes(bytes) + bytes
    }
    const expected = [...Array(100).fill(8), 10_000, ...Array(100).fill(200), 20_010, 3]
    expect(sizes).toEqual(expected)
  })

  it('counts what tiny replies cost beside their bytes, while they wait', async () => {
    const { socket, outbox } = start(10_000)
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => {})
    await settled()
    let replies = 0
    for (; !outbox.isFull; replies++) {
      outbox.send(bytesOf(1))
      await settled()
    }
    expect(replies).toBeLessThan(25)
    await socket.take()
    await socket.take()
    expect(outbox.isFull).toBe(false)
  })

  it('may hold less, the more replies wait in all sockets, and gives its part back at its end', async () => {
    const budget = new ByteBudget(1_000_000)
    const [one, other] = [start(400_000, budget), start(400_000, budget)]
    one.outbox.send(bytesOf(100_000))
    expect(one.outbox.isFull).toBe(false)
    other.outbox.send(bytesOf(110_000))
    expect(other.outbox.isFull).toBe(true)
    expect(budget.bytes).toBeGreaterThan(210_000)
    other.outbox.close()
    await settled()
    await one.socket.take()
    expect(budget.bytes).toBe(0)
  })

  it('sends large parts as they lie and joins small ones', async () => {
    const { socket, outbox } = start()
    const large = [bytesOf(100_000, 1), bytesOf(5_000, 2)]
    const small = Array.from({ length: 1_000 }, (_, i) => bytesOf(100, i))
    const parts = [...small.slice(0, 500), ...large, ...small.slice(500)]
    outbox.sendParts(bytesOf(20), parts, () => {})
    await settled()
    const pieces = socket.writes[0] ?? []
    const content = Buffer.concat([bytesOf(20), ...parts])
    expect(Buffer.concat(pieces).subarray(10).equals(content)).toBe(true)
    for (const part of large) expect(pieces.some((piece) => piece.buffer === part.buffer)).toBe(true)
    expect(pieces.length).toBeLessThan(12)
    const joinedBytes = pieces.map(({ length }) => length).filter((length) => length !== 100_000)
    expect(Math.max(...joinedBytes)).toBeLessThan(17_000)
  })

  it('stops the reading of requests past its cap and goes on when all has left', async () => {
    const { socket, outbox, reader, drains } = start(10_000)
    outbox.send(bytesOf(9_000))
    expect(outbox.isFull).toBe(false)
    outbox.send(bytesOf(9_000))
    expect([outbox.isFull, reader.isPaused]).toEqual([true, true])
    await settled()
    await socket.take()
    expect([outbox.isFull, reader.isPaused, drains.count]).toEqual([false, false, 1])
  })

  it('does not hold requests back for stored data', () => {
    const { outbox, reader } = start(10_000)
    outbox.sendParts(bytesOf(20), [bytesOf(1_000_000)], () => {})
    outbox.send(bytesOf(100))
    expect([outbox.isFull, reader.isPaused, outbox.waitingBytes > 1_000_000]).toEqual([false, false, true])
  })

  it('goes on when the replies have left, though stored data follows stored data', async () => {
    const { socket, outbox, reader } = start(10_000)
    outbox.send(bytesOf(20_000))
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => {})
    await settled()
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => {})
    await settled()
    expect(reader.isPaused).toBe(true)
    await socket.take()
    expect(outbox.waitingBytes).toBeGreaterThan(50_000)
    expect([outbox.isFull, reader.isPaused]).toEqual([false, false])
  })

  it('says when stored data has left, or that it never will', async () => {
    const { socket, outbox, webSocket } = start()
    const sent: string[] = []
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => void sent.push('first'))
    outbox.sendParts(bytesOf(20), [], () => void sent.push('second'))
    await settled()
    expect(sent).toEqual([])
    await socket.take()
    expect(sent).toEqual(['first', 'second'])
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => void sent.push('under way'))
    await settled()
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => void sent.push('queued'))
    await settled()
    socket.destroy()
    await settled()
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => void sent.push('after the end'))
    // The kernel's answer to the write under way comes even so.
    await socket.take()
    webSocket.readyState = 2
    outbox.sendParts(bytesOf(20), [bytesOf(50_000)], () => void sent.push('after the close frame'))
    outbox.send(bytesOf(10))
    await settled()
    expect(sent.slice(2).sort()).toEqual(['after the close frame', 'after the end', 'queued', 'under way'])
  })
})
