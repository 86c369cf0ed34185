import { expect, it } from 'vitest'
import { FairQueue } from '../../../broker/session/fair-queue.js'
import { InFlight, InFlightBudget, ReadGate } from '../../../broker/session/flow-control.js'
import { FrameMemory } from '../../../broker/session/frame-memory.js'
import { Inlet } from '../../../broker/session/inlet.js'
import { READ_BYTES } from '../../../broker/session/raw-socket.js'
import { ManualClock } from '../../support/manual-clock.js'

const MIB = 1024 * 1024
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A binary message of one fragment, with a mask of zeros: a client that leaves its bytes as they are. */
function message(payload: Buffer): Buffer {
  const head =
    payload.length < 126 ? Buffer.from([0x82, 0x80 | payload.length]) : Buffer.from([0x82, 0xfe, 0, 0])
  if (head.length === 4) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, Buffer.alloc(4), payload])
}

const numbered = (n: number): Buffer => {
  const payload = Buffer.alloc(8)
  payload.writeUInt32BE(n)
  return message(payload)
}

/** Inlets of some connections on one queue. `read` brings bytes from the socket, into memory that all reads share. */
function start({ frameMs = 0 }: { frameMs?: number } = {}) {
  const clock = new ManualClock()
  const queue = new FairQueue(clock)
  const memory = new FrameMemory({ bytesMax: 64 * MIB })
  const budget = new InFlightBudget(64 * MIB)
  const order: string[] = []
  const connect = (name: string) => {
    const reader = { isPaused: false, pause: () => {}, resume: () => {} }
    reader.pause = () => {
      reader.isPaused = true
    }
    reader.resume = () => {
      reader.isPaused = false
    }
    const gate = new ReadGate(reader)
    const inFlight = new InFlight({ gate, budget, bytesMax: MIB })
    const state = { isHeldBack: false, endsAt: Number.POSITIVE_INFINITY }
    const frames: number[] = []
    const inlet = new Inlet({
      memory,
      frameBytesMax: MIB,
      gate,
      inFlight,
      queue,
      clock,
      isHeldBack: () => state.isHeldBack,
      onFrame: (frame) => {
        frames.push(frame.bytes.readUInt32BE(0))
        order.push(name)
        clock.advance(frameMs)
        frame.release()
        if (frames.length === state.endsAt) inlet.stop()
      },
      pass: () => {},
    })
    const read = (bytes: Buffer): void => {
      const shared = Buffer.from(bytes)
      inlet.take(shared)
      shared.fill(0xee)
    }
    return { inlet, reader, state, frames, read }
  }
  return { connect, order, memory, budget }
}

const flood = Buffer.concat(Array.from({ length: 1_000 }, (_, n) => numbered(n)))

it('a flood of small frames in one read is handled share by share, and the socket not read meanwhile', async () => {
  const { connect, budget } = start()
  const { read, frames, reader, inlet } = connect('a')
  read(flood)
  expect(frames.length).toBeLessThan(300)
  expect([reader.isPaused, inlet.isEmpty]).toEqual([true, false])
  expect(budget.bytes).toBe(flood.length - frames.length * 14)
  while (reader.isPaused) await settled()
  expect(frames).toEqual(Array.from({ length: 1_000 }, (_, n) => n))
  expect([inlet.isEmpty, budget.bytes]).toEqual([true, 0])
})

it('frames that take long make a share shorter', () => {
  const { connect } = start({ frameMs: 0.1 })
  const { read, frames } = connect('a')
  read(flood)
  expect(frames).toHaveLength(16)
})

it('a frame of another connection waits for a share of each flood, not for all of it', async () => {
  const { connect, order } = start()
  const floods = [connect('a'), connect('b')]
  for (const { read } of floods) read(flood)
  await settled()
  connect('c').read(numbered(0))
  const before = order.lastIndexOf('c')
  expect(before).toBeGreaterThan(0)
  expect(before).toBeLessThan(1_100)
  expect(floods.every(({ inlet }) => !inlet.isEmpty)).toBe(true)
  while (floods.some(({ inlet }) => !inlet.isEmpty)) await settled()
  // In rotation: neither was through long before the other.
  expect(order.lastIndexOf('b') - order.lastIndexOf('a')).toBeLessThan(300)
})

it('a client that fills read after read is not read for the rest of the turn', async () => {
  const { connect } = start()
  const { read, frames, reader } = connect('a')
  const full = message(Buffer.alloc(60_000))
  const stream = Buffer.concat(Array.from({ length: 30 }, () => full))
  let reads = 0
  for (let at = 0; !reader.isPaused; at += READ_BYTES, reads++) read(stream.subarray(at, at + READ_BYTES))
  expect(reads).toBe(4)
  expect(frames.length).toBe(17)
  await settled()
  expect(reader.isPaused).toBe(false)
})

it('requests of clients that take no replies wait, in memory of their own, until they do', async () => {
  const { connect, memory, budget } = start()
  const connections = Array.from({ length: 300 }, (_, i) => connect(String(i)))
  for (const { state, read } of connections) {
    state.isHeldBack = true
    read(flood)
  }
  await settled()
  expect(connections.every(({ frames, reader }) => frames.length === 0 && reader.isPaused)).toBe(true)
  // What they hold up is no reason to read nobody else.
  expect(budget.bytes).toBe(0)
  // One slab, which the next frame would go on in.
  expect(memory.bytesInUse).toBeLessThanOrEqual(2 * MIB)
  const [{ frames, reader, state, inlet }] = connections as [ReturnType<typeof connect>]
  state.isHeldBack = false
  inlet.resume()
  while (reader.isPaused) await settled()
  expect(frames).toHaveLength(1_000)
})

it('what waits when a frame ends the session is let go of', async () => {
  const { connect, memory, budget } = start()
  const { read, frames, state, inlet } = connect('a')
  const inUse = memory.bytesInUse
  state.endsAt = 10
  const large = message(Buffer.alloc(50_000))
  for (let i = 0; i < 60; i++) read(Buffer.concat([flood, large]))
  while (!inlet.isEmpty) await settled()
  expect(frames).toHaveLength(10)
  inlet.close()
  expect(budget.bytes).toBe(0)
  // One slab, which the next frame would go on in.
  expect(memory.bytesInUse).toBeLessThanOrEqual(inUse + 2 * MIB)
})

it('what waits is let go of with the connection', async () => {
  const { connect, memory } = start()
  const connections = Array.from({ length: 200 }, (_, i) => connect(String(i)))
  for (const { read } of connections) read(flood)
  expect(memory.bytesInUse).toBeGreaterThan(2 * MIB)
  for (const { inlet } of connections) inlet.close()
  await settled()
  expect(memory.bytesInUse).toBeLessThanOrEqual(2 * MIB)
})
