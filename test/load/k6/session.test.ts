import { describe, expect, it } from 'vitest'
import { Session } from '../../../load/k6/session.js'
import { packFrame, unpackFrame } from '../../../protocol/frame.js'
import {
  credit,
  deliver,
  error,
  goingAway,
  hello,
  ping,
  pong,
  produce,
  produced,
} from '../../../protocol/messages/index.js'
import { notedMeasures } from '../../support/noted-measures.js'

function opened() {
  const { measures, wrongs } = notedMeasures()
  const sent: ArrayBuffer[] = []
  let closed = 0
  const session = new Session(
    {
      send: (frame) => sent.push(frame),
      close: () => {
        closed++
      },
    },
    measures,
  )
  const receive = (frame: unknown[]): void => session.receive(packFrame(frame).slice().buffer as ArrayBuffer)
  const last = (): unknown[] => unpackFrame(new Uint8Array(sent.at(-1) ?? new ArrayBuffer(0)))
  return { session, wrongs, sent, receive, last, closes: () => closed }
}

const refusal = (correlationId: number): unknown[] =>
  error.write({
    correlationId,
    code: 'LIMIT_REACHED',
    message: 'too many',
    retriable: false,
    outcome: 0,
    retryAfterMs: null,
    details: null,
  })

describe('a session', () => {
  it('says HELLO with the feature that its frames need', () => {
    const { session, last } = opened()
    session.start('k6/1', () => {})
    expect(hello.read(last())).toMatchObject({ clientName: 'k6/1', features: ['groups'] })
  })

  it('gives each answer to its own request', () => {
    const { session, receive, wrongs } = opened()
    const answers: string[] = []
    for (const name of ['a', 'b']) {
      session.ask(
        (correlationId) => ping.write({ correlationId }),
        () => answers.push(name),
      )
    }
    receive(pong.write({ correlationId: 2 }))
    receive(pong.write({ correlationId: 1 }))
    expect(answers).toEqual(['b', 'a'])
    expect(wrongs).toEqual([])
  })

  it('reports an answer that nobody waits for', () => {
    const { receive, wrongs } = opened()
    receive(pong.write({ correlationId: 9 }))
    receive(produced.write({ acks: [{ correlationId: 9, baseOffset: 0, appendTime: 0, duplicate: false }] }))
    expect(wrongs).toEqual([
      'corrupt: a frame 4 that nobody waits for',
      'corrupt: an ack of 9, which nobody waits for',
    ])
  })

  it('tells the request that was refused, and reports it', () => {
    const { session, receive, wrongs } = opened()
    const events: string[] = []
    session.ask(
      (correlationId) => ping.write({ correlationId }),
      () => events.push('answered'),
      () => events.push('refused'),
    )
    receive(refusal(1))
    receive(refusal(0))
    expect(events).toEqual(['refused'])
    expect(wrongs).toEqual(['refused: LIMIT_REACHED: too many', 'refused: LIMIT_REACHED: too many'])
  })

  it('sends each frame in an ArrayBuffer of its own, with nothing else in it', () => {
    const { session, sent } = opened()
    const payload = new Uint8Array(5000).fill(7)
    const fields = {
      topicId: '00'.repeat(16),
      partition: 0,
      producerId: 1,
      producerEpoch: 0,
      baseSequence: 0,
    }
    const times = { attributes: 0, baseTimestamp: 1, recordCount: 1, inflatedBytes: 5000, payloadCrc: 0 }
    session.tell(credit.write({ subscriptionId: 1, bytes: 2 }))
    session.produce(
      (correlationId) => produce.write({ correlationId, ...fields, ...times, payload } as never),
      () => {},
      () => {},
    )
    const frames = sent.map((buffer) => unpackFrame(new Uint8Array(buffer)))
    expect(frames[0]).toEqual([24, 1, 2])
    expect(frames[1]?.at(-1)).toEqual(payload)
    expect(sent[0]).not.toBe(sent[1])
  })

  it('hands frames that come unasked to whoever listens', () => {
    const { session, receive } = opened()
    const subscriptions: number[] = []
    session.on(deliver, (frame) => subscriptions.push(deliver.read(frame).subscriptionId))
    receive(deliver.write({ subscriptionId: 3, startOffset: 0, durableEnd: 0, entries: new Uint8Array(0) }))
    expect(subscriptions).toEqual([3])
  })

  it('reports a broker that goes away, and a connection that ends unasked', () => {
    const { session, receive, wrongs } = opened()
    receive(goingAway.write({ reason: 'stop', deadlineMs: 1 }))
    session.closed('reset')
    session.closed('reset')
    expect(wrongs).toEqual(['connection: the broker goes away', 'connection: lost: reset'])
  })

  it('reports nothing when it is closed on purpose, and sends nothing afterwards', () => {
    const { session, sent, wrongs, closes } = opened()
    let listened = 0
    session.onClosed(() => listened++)
    session.close()
    session.close()
    session.tell(ping.write({ correlationId: 1 }))
    session.closed('')
    expect({ closes: closes(), listened, sent: sent.length, wrongs }).toEqual({
      closes: 1,
      listened: 1,
      sent: 0,
      wrongs: [],
    })
  })
})
