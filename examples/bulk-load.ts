/** Many records without a promise for each: `enqueue` waits while the buffer is full, `flush` tells what failed. */
import { connect, defineTopic, msgpack, text } from 'millrace'

interface Reading {
  celsius: number
  at: number
}

const Readings = defineTopic({ name: 'readings', key: text(), value: msgpack<Reading>() })

const client = connect(process.env.MILLRACE_URL ?? 'ws://127.0.0.1:4600')
await client.ensureTopic(Readings, { partitions: 8 })

const producer = client.producer(Readings, { compression: 'gzip' })
for (let i = 0; i < 1_000_000; i++) {
  const value = { celsius: 15 + 10 * Math.sin(i / 1000), at: i }
  await producer.enqueue({ key: `sensor-${i % 100}`, value })
}
await producer.close()
await client.close()
