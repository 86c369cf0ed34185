import { connect, defineTopic, text } from '../../client/index.js'

// Run as a process of its own: it has to end by itself once its clients are closed.
const Lines = defineTopic({ name: 'lines', key: text(), value: text() })

const used = connect(process.env.BROKER_URL ?? '', { pingIntervalMs: 60_000 })
await used.ensureTopic(Lines)
const producer = used.producer(Lines, { lingerMs: 60_000, name: 'p' })
void producer.enqueue({ value: 'x' })
const stream = used.read(Lines, { from: 'earliest' })
await producer.flush()
await stream.next()
const consuming = { group: 'g', ifNoCursor: 'earliest', ackIntervalMs: 60_000 } as const
const loop = used.consume(Lines, consuming)[Symbol.asyncIterator]()
const first = await loop.next()
first.value?.ack()
const waitingForMore = loop.next().catch(() => {})
await new Promise<void>((begun) => {
  const endless = (): Promise<void> => {
    begun()
    return new Promise(() => {})
  }
  const running = used.consume(Lines, { ...consuming, group: 'h' }).run(endless, { graceMs: 60_000 })
  running.catch(() => {})
})
await used.close({ drainMs: 500 })
await waitingForMore

const neverConnected = connect('ws://127.0.0.1:1', { backoffBaseMs: 60_000, backoffCapMs: 60_000 })
const waiting = neverConnected.listTopics().catch(() => {})
await neverConnected.close()
await waiting
connect('ws://127.0.0.1:1')
console.log('closed')
