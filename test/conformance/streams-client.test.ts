import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client'
import { afterEach, describe, expect, it } from 'vitest'
import { BrokerProcess } from '../support/broker-process.js'
import { until } from '../support/until.js'

const backoffOptions = { initialDelay: 20, maxDelay: 200, multiplier: 2 }

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function startBroker(): Promise<BrokerProcess> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-streams-client-'))
  closing.push(() => rm(dataDir, { recursive: true, force: true }))
  const broker = new BrokerProcess({ dataDir, flags: { 'stream-poll-ms': '500ms' } })
  await broker.start()
  closing.push(() => broker.stop())
  return broker
}

/** Asks again until somebody is there who can say yes or no. */
const persistentFetch: typeof fetch = async (...asked) => {
  for (;;) {
    const response = await fetch(...asked).catch(() => undefined)
    if (response !== undefined && response.status < 500) return response
    await sleep(20)
  }
}

interface Message {
  readonly n: number
}

/** What a tail has got; when it breaks off it goes on from the last offset that it was told. */
class Tail {
  readonly received: number[] = []
  readonly #url: string
  readonly #live: 'sse' | 'long-poll'

  constructor(url: string, live: 'sse' | 'long-poll') {
    this.#url = url
    this.#live = live
  }

  /** Resolves when the stream is closed and read to its end. */
  async run(): Promise<void> {
    let offset = '-1'
    for (let isClosed = false; !isClosed; ) {
      try {
        const response = await stream<Message>({
          url: this.#url,
          live: this.#live,
          offset,
          json: true,
          backoffOptions,
        })
        response.subscribeJson((batch) => {
          this.received.push(...batch.items.map(({ n }) => n))
          offset = batch.offset
        })
        await response.closed
        isClosed = response.streamClosed
      } catch {
        await sleep(20)
      }
    }
  }
}

describe('the Durable Streams client, unmodified', () => {
  it('appends and tails through three restarts of the broker without a gap and without a repeat', async () => {
    const broker = await startBroker()
    const url = `${broker.url.replace('ws:', 'http:')}/v1/stream/through/restarts`
    const handle = await DurableStream.create({ url, contentType: 'application/json' })
    const errors: Error[] = []
    const producer = new IdempotentProducer(handle, 'only-one', {
      lingerMs: 2,
      // The producer leaves it to its fetch to ask again when nobody answers.
      fetch: persistentFetch,
      onError: (error) => errors.push(error),
    })
    const tails = [new Tail(url, 'sse'), new Tail(url, 'long-poll')]
    const tailing = Promise.all(tails.map((tail) => tail.run()))

    let sent = 0
    let isOver = false
    const sending = (async () => {
      for (; !isOver; sent++) {
        producer.append(JSON.stringify({ n: sent }))
        if (sent % 4 === 0) await sleep(10)
      }
    })()
    for (const end of ['kill', 'stop', 'kill'] as const) {
      const before = Math.min(...tails.map(({ received }) => received.length))
      // Every reader has got some since the last restart, and more is on its way.
      await until(() => tails.every(({ received }) => received.length > before + 20))
      await broker[end]()
      await sleep(50)
      await broker.start()
    }
    isOver = true
    await sending
    await producer.flush()
    await producer.close()
    await tailing
    const all = Array.from({ length: sent }, (_, n) => n)
    expect(errors).toEqual([])
    // The client says that a stream is closed before it has handed out what came with that.
    await until(() => tails.every(({ received }) => received.length >= sent))
    for (const { received } of tails) expect(received).toEqual(all)
    const read = await stream<Message>({ url, live: false, json: true })
    expect((await read.json()).map(({ n }) => n)).toEqual(all)
  }, 300_000)
})
