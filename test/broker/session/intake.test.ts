import type { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import * as ws from 'ws'
import { FrameMemory } from '../../../broker/session/frame-memory.js'
import { Intake } from '../../../broker/session/intake.js'
import type { ReceivedFrame } from '../../../broker/session/received-frame.js'
import { SeededRandom } from '../../support/seeded-random.js'

/** Its types leave it out. */
const { Receiver } = ws as unknown as { Receiver: new (options: object) => Writable }

const MIB = 1024 * 1024
const BINARY = 2
const TEXT = 1
const CONTINUATION = 0
const PING = 9

interface Piece {
  readonly opcode: number
  readonly payload: Buffer
  readonly isFinal?: boolean
  readonly isMasked?: boolean
}

/** A WebSocket message as a client writes it. */
function masked({ opcode, payload, isFinal = true, isMasked = true }: Piece, random: SeededRandom): Buffer {
  const { length } = payload
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const head = Buffer.alloc(2 + extended)
  head[0] = (isFinal ? 0x80 : 0) | opcode
  head[1] = (isMasked ? 0x80 : 0) | (extended === 0 ? length : extended === 2 ? 126 : 127)
  if (extended === 2) head.writeUInt16BE(length, 2)
  if (extended === 8) head.writeBigUInt64BE(BigInt(length), 2)
  if (!isMasked) return Buffer.concat([head, payload])
  const mask = Buffer.alloc(4)
  mask.writeUInt32BE(random.uint32())
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ (mask[i & 3] as number))])
}

/** An intake with the WebSocket library behind it; what either brings, in order. */
function receiving(options: { memoryBytes?: number; frameBytesMax?: number; keep?: boolean } = {}) {
  const seen: string[] = []
  const errors: string[] = []
  const kept: ReceivedFrame[] = []
  let partial = 0
  const receiver = new Receiver({ isServer: true, maxPayload: options.frameBytesMax ?? 8 * MIB })
  receiver.on('message', (data: Buffer, isBinary: boolean) =>
    seen.push(`${isBinary ? 'binary' : 'text'} ${data.toString('hex')}`),
  )
  receiver.on('ping', (data: Buffer) => seen.push(`ping ${data.toString('hex')}`))
  receiver.on('error', (error: Error & { code?: string }) => errors.push(error.code ?? error.message))
  const memory = new FrameMemory({ bytesMax: options.memoryBytes ?? 64 * MIB })
  const ours: string[] = []
  const intake = new Intake({
    memory,
    frameBytesMax: options.frameBytesMax ?? 8 * MIB,
    onFrame: (frame) => {
      const text = `binary ${frame.bytes.toString('hex')}`
      seen.push(text)
      ours.push(text)
      if (options.keep) kept.push(frame)
      else frame.release()
    },
    onPartial: (bytes) => {
      partial = bytes
    },
    pass: (bytes) => receiver.write(bytes),
    mayGoOn: () => true,
  })
  /** In pieces, each overwritten once it was taken: the next read goes to the same memory. */
  const take = (bytes: Buffer, pieceBytes: () => number): void => {
    for (let at = 0; at < bytes.length; ) {
      const piece = Buffer.from(bytes.subarray(at, at + pieceBytes()))
      at += piece.length
      intake.take(piece)
      piece.fill(0xee)
    }
  }
  return { seen, ours, errors, kept, memory, intake, take, partial: () => partial }
}

const whole = () => Number.POSITIVE_INFINITY

describe('an intake', () => {
  it('gives the messages that the WebSocket library alone would give, however they are cut and mixed', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new SeededRandom(seed)
      const below = (n: number): number => random.uint32() % n
      const bytes = (n: number): Buffer => Buffer.from(Buffer.alloc(n).map(() => below(256)))
      const expected: string[] = []
      const wire: Buffer[] = []
      for (let i = 0; i < 12; i++) {
        const payload = bytes(
          [0, 1, below(125), 125, 126, 127, below(700), 70_000][below(seed % 10 === 0 ? 8 : 7)] ?? 5,
        )
        const kind = below(5)
        if (kind === 0) {
          const ping = payload.subarray(0, 125)
          wire.push(masked({ opcode: PING, payload: ping }, random))
          expected.push(`ping ${ping.toString('hex')}`)
        } else if (kind === 1) {
          const text = Buffer.from(payload.toString('hex'))
          wire.push(masked({ opcode: TEXT, payload: text }, random))
          expected.push(`text ${text.toString('hex')}`)
        } else if (kind === 2) {
          const parts = [payload, bytes(below(50)), bytes(below(50))]
          wire.push(masked({ opcode: BINARY, payload: parts[0] as Buffer, isFinal: false }, random))
          wire.push(masked({ opcode: CONTINUATION, payload: parts[1] as Buffer, isFinal: false }, random))
          if (below(2) === 0) {
            wire.push(masked({ opcode: PING, payload: Buffer.from('p') }, random))
            expected.push('ping 70')
          }
          wire.push(masked({ opcode: CONTINUATION, payload: parts[2] as Buffer }, random))
          expected.push(`binary ${Buffer.concat(parts).toString('hex')}`)
        } else {
          wire.push(masked({ opcode: BINARY, payload }, random))
          expected.push(`binary ${payload.toString('hex')}`)
        }
      }
      const { seen, errors, take, partial, memory } = receiving()
      const sizeMax = [1, 3, 20, 2_000, 100_000][below(5)] as number
      take(Buffer.concat(wire), () => 1 + below(sizeMax))
      expect(seen, `seed ${seed}`).toEqual(expected)
      expect(errors).toEqual([])
      expect(partial()).toBe(0)
      // One slab, which the next frame would go on in.
      expect(memory.bytesInUse).toBeLessThanOrEqual(2 * MIB)
    }
  })

  it('keeps a frame whole until it is released, and uses its memory again after that', () => {
    const random = new SeededRandom(1)
    const { kept, memory, take } = receiving({ keep: true })
    const payload = Buffer.alloc(900_000, 7)
    const send = (): void => take(masked({ opcode: BINARY, payload }, random), () => 65_536)
    for (let i = 0; i < 10; i++) send()
    expect(kept.every(({ bytes }) => bytes.equals(payload))).toBe(true)
    const inUse = memory.bytesInUse
    for (const frame of kept) {
      frame.release()
      frame.release()
    }
    kept.length = 0
    for (let i = 0; i < 10; i++) send()
    expect(memory.bytesInUse).toBe(inUse)
    expect(kept.every(({ bytes }) => bytes.equals(payload))).toBe(true)
  })

  it('leaves frames to the library when its memory is used up', () => {
    const random = new SeededRandom(2)
    const { kept, ours, seen, memory, take } = receiving({ keep: true, memoryBytes: 4 * MIB })
    const payload = Buffer.alloc(1_500_000, 1)
    for (let i = 0; i < 5; i++) take(masked({ opcode: BINARY, payload }, random), whole)
    expect(seen.length).toBe(5)
    expect(ours.length).toBe(2)
    expect(memory.bytesInUse).toBe(4 * MIB)
    for (const frame of kept) frame.release()
  })

  it('counts what has come of a frame, by whichever way it goes', () => {
    const random = new SeededRandom(3)
    const { take, partial } = receiving()
    const frame = masked({ opcode: BINARY, payload: Buffer.alloc(1_000) }, random)
    take(frame.subarray(0, 508), whole)
    expect(partial()).toBe(500)
    take(frame.subarray(508), whole)
    expect(partial()).toBe(0)
    take(masked({ opcode: BINARY, payload: Buffer.alloc(300), isFinal: false }, random), whole)
    expect(partial()).toBe(300)
    take(masked({ opcode: PING, payload: Buffer.alloc(100) }, random), whole)
    expect(partial()).toBe(300)
    const rest = masked({ opcode: CONTINUATION, payload: Buffer.alloc(1_000) }, random)
    take(rest.subarray(0, 108), whole)
    expect(partial()).toBe(400)
    take(rest.subarray(108), whole)
    expect(partial()).toBe(0)
  })

  it.each([
    [
      'a message that is not masked',
      { opcode: BINARY, payload: Buffer.from('abc'), isMasked: false },
      'WS_ERR_EXPECTED_MASK',
    ],
    ['a reserved bit', { opcode: 0x40 | BINARY, payload: Buffer.from('abc') }, 'WS_ERR_UNEXPECTED_RSV_1'],
    ['an opcode that nobody knows', { opcode: 3, payload: Buffer.from('abc') }, 'WS_ERR_INVALID_OPCODE'],
    [
      'a message over the limit',
      { opcode: BINARY, payload: Buffer.alloc(2_000) },
      'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH',
    ],
    [
      'a continuation of nothing',
      { opcode: CONTINUATION, payload: Buffer.from('abc') },
      'WS_ERR_INVALID_OPCODE',
    ],
  ])('leaves it to the library to refuse %s', async (_, piece, code) => {
    const { seen, errors, take } = receiving({ frameBytesMax: 1_000 })
    take(masked(piece, new SeededRandom(4)), whole)
    await new Promise(setImmediate)
    expect(errors).toEqual([code])
    expect(seen).toEqual([])
  })

  it('lets the library refuse a message between the fragments of another', async () => {
    const random = new SeededRandom(5)
    const { errors, ours, take } = receiving()
    take(masked({ opcode: BINARY, payload: Buffer.from('a'), isFinal: false }, random), whole)
    take(masked({ opcode: BINARY, payload: Buffer.from('b') }, random), whole)
    await new Promise(setImmediate)
    expect(errors).toEqual(['WS_ERR_INVALID_OPCODE'])
    expect(ours).toEqual([])
  })

  it('lets go of its memory when it is stopped in the middle of a frame, and still passes on what closes', () => {
    const random = new SeededRandom(6)
    const { seen, memory, intake, take } = receiving()
    const frame = masked({ opcode: BINARY, payload: Buffer.alloc(1_000_000) }, random)
    take(frame.subarray(0, 5_000), whole)
    intake.stop()
    take(frame.subarray(5_000), whole)
    take(masked({ opcode: PING, payload: Buffer.from('p') }, random), whole)
    expect(seen).toEqual(['ping 70'])
    expect(memory.bytesInUse).toBeLessThanOrEqual(2 * MIB)
  })
})
