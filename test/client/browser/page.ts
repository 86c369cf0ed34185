import { bytes, connect, defineTopic, json, MillraceError, msgpack, text } from 'millrace'

// Bundled for browsers by browser.test.ts, which calls `millracePage` in Chromium.

interface Sample {
  readonly encoding: string
  readonly sent: unknown
  readonly read: unknown
}

const topics = [
  { topic: defineTopic({ name: 'texts', key: text(), value: text() }), value: 'größer 🌊' },
  {
    topic: defineTopic({ name: 'jsons', key: text(), value: json<unknown>() }),
    value: { a: [1, null, 'x'], b: 1.5 },
  },
  {
    topic: defineTopic({ name: 'packs', key: text(), value: msgpack() }),
    value: { n: [1, -2, 2 ** 40], t: 'ü' },
  },
  { topic: defineTopic({ name: 'blobs', key: text(), value: bytes() }), value: new Uint8Array([0, 255, 7]) },
]

/** Writes and reads each encoding, with and without compression, and follows a topic while it is written. */
async function run(url: string) {
  const client = connect(url, { token: 'from a page' })
  const samples: Sample[] = []
  for (const { topic, value } of topics) {
    await client.ensureTopic(topic, { partitions: 2 })
    for (const compression of ['none', 'gzip'] as const) {
      const producer = client.producer(topic, { compression })
      const records = Array.from({ length: 200 }, () => ({
        key: 'k',
        value: value as never,
        headers: { trace: '1' },
      }))
      const results = await producer.sendBatch(records)
      const { partition, offset } = results[199] ?? { partition: -1, offset: -1 }
      for await (const record of client.read(topic, { from: { [partition]: offset }, to: 'end' })) {
        samples.push({ encoding: topic.value.encoding, sent: value, read: record.value })
      }
    }
  }
  const Texts = defineTopic({ name: 'texts', key: text(), value: text() })
  const stream = client.read(Texts, { from: 'latest' })
  await stream.ready
  const next = stream.next()
  await client.producer(Texts, { name: 'page' }).send({ value: 'followed' })
  const followed = (await next).value?.value
  await stream.return()
  const code = await client
    .read(defineTopic({ name: 'none', key: text(), value: text() }))
    .next()
    .then(
      () => 'no error',
      (error: unknown) => (error instanceof MillraceError ? error.code : String(error)),
    )
  await client.close()
  return {
    samples: samples.map(({ encoding, sent, read }) => ({
      encoding,
      isSame: JSON.stringify(sent) === JSON.stringify(read),
    })),
    followed,
    code,
  }
}

/** Reads a topic from its start, what is sealed over HTTP. */
async function history(url: string) {
  const fallbacks: string[] = []
  const client = connect(url)
  client.on('historyFallback', ({ error }) => fallbacks.push(error.message))
  const Lines = defineTopic({ name: 'lines', key: text(), value: text() })
  const offsets: number[] = []
  for await (const record of client.read(Lines, { from: 'earliest', to: 'end', history: 'http' })) {
    if (record.value.startsWith(`${record.offset} `)) offsets.push(record.offset)
  }
  await client.close()
  return { offsets, fallbacks }
}

Object.assign(globalThis, { millracePage: run, millraceHistory: history })
