/** The short tour: a typed topic, a producer, a reader. Run a broker first: `npm start`. */
import { connect, defineTopic, json, text } from 'millrace'

interface Order {
  id: string
  total: number
}

const Orders = defineTopic({ name: 'orders', key: text(), value: json<Order>() })

const client = connect(process.env.MILLRACE_URL ?? 'ws://127.0.0.1:4600')
await client.ensureTopic(Orders, { partitions: 4 })

const producer = client.producer(Orders)
const { partition, offset } = await producer.send({ key: 'alice', value: { id: 'o-1', total: 12.5 } })
console.log(`written to partition ${partition} at offset ${offset}`)

for await (const { key, value } of client.read(Orders, { from: 'earliest', to: 'end' })) {
  console.log(key, value.total)
}
await client.close()
