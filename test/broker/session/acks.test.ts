import { describe, expect, it } from 'vitest'
import { ArmedFailpoints, type Failpoints, noFailpoints } from '../../../broker/platform/failpoints.js'
import { Acks } from '../../../broker/session/acks.js'
import type { Outbox } from '../../../broker/session/outbox.js'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import { type ProduceAck, produced } from '../../../protocol/messages/index.js'
import { SeededRandom } from '../../support/seeded-random.js'

function start(options: { failpoints?: Failpoints; acksPerFrameMax?: number } = {}) {
  const sent: Uint8Array[] = []
  const outbox = { send: (frame: Uint8Array) => void sent.push(frame) } as unknown as Outbox
  return { sent, acks: new Acks({ outbox, failpoints: noFailpoints, ...options }) }
}

const numbers = [
  0,
  1,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 40 + 1,
  2 ** 53 - 1,
]
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('the acks of a connection', () => {
  it.each([1, 2, 15, 16, 17, 1_000, 65_535, 65_536])(
    'are packed as the codec packs them: %i',
    async (count) => {
      const random = new SeededRandom(count)
      const ids = numbers.filter((value) => value < 2 ** 32)
      const { sent, acks } = start()
      const expected: ProduceAck[] = Array.from({ length: count }, () => ({
        correlationId: random.pick(ids),
        baseOffset: random.pick(numbers),
        appendTime: random.pick(numbers),
        duplicate: random.chance(0.5),
      }))
      for (const { correlationId, ...ack } of expected) acks.add(correlationId, { ...ack, duplicates: null })
      await settled()
      expect(sent).toHaveLength(1)
      const frame = sent[0] as Uint8Array
      expect(Buffer.compare(frame, packFrame(produced.write({ acks: expected })))).toBe(0)
      expect(produced.read(unpackFrame(frame)).acks).toEqual(expected)
    },
  )

  it('are split where a frame would hold too many', async () => {
    const { sent, acks } = start({ acksPerFrameMax: 3 })
    for (let id = 1; id <= 7; id++)
      acks.add(id, { baseOffset: id, appendTime: 0, duplicate: false, duplicates: null })
    await settled()
    const ids = sent.map((frame) =>
      produced.read(unpackFrame(frame)).acks.map(({ correlationId }) => correlationId),
    )
    expect(ids).toEqual([[1, 2, 3], [4, 5, 6], [7]])
  })

  it('can be held up by a failpoint, and none is lost or sent twice', async () => {
    const failpoints = new ArmedFailpoints()
    let release = (): void => {}
    failpoints.arm('ackBeforeSend', () => new Promise<void>((resolve) => (release = resolve)))
    const { sent, acks } = start({ failpoints })
    acks.add(1, { baseOffset: 1, appendTime: 0, duplicate: false, duplicates: null })
    await settled()
    acks.add(2, { baseOffset: 2, appendTime: 0, duplicate: false, duplicates: null })
    await settled()
    expect(sent).toHaveLength(1)
    release()
    await settled()
    const ids = sent.map((frame) => produced.read(unpackFrame(frame)).acks[0]?.correlationId)
    expect(ids).toEqual([2, 1])
  })
})
