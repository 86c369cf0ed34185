/**
 * Consume, transform, produce: every order becomes one invoice, whatever breaks on the way. The invoice and the acknowledgement
 * of its order are one write: both are there or neither is. Run it several times at once: the partitions are shared.
 */
import { connect, defineTopic, json, text } from 'millrace'

const Orders = defineTopic({ name: 'orders', key: text(), value: json<{ id: string; total: number }>() })
const Invoices = defineTopic({ name: 'invoices', key: text(), value: json<{ order: string; due: number }>() })

const stopped = new AbortController()
process.once('SIGINT', () => stopped.abort())

const client = connect(process.env.MILLRACE_URL ?? 'ws://127.0.0.1:4600')
await client.ensureTopic(Orders, { partitions: 4 })
await client.ensureTopic(Invoices, { partitions: 4 })

const orders = client.consume(Orders, { group: 'billing', ifNoCursor: 'earliest', signal: stopped.signal })
orders.on('assigned', ({ partitions }) => {
  console.error(`now also partition ${partitions.map(({ partition }) => partition).join(', ')}`)
})
try {
  for await (const order of orders) {
    const invoice = Invoices.record({
      key: order.key,
      value: { order: order.value.id, due: order.value.total },
    })
    await client.atomic({ writes: [invoice], acks: [order] })
  }
} catch (error) {
  if (!stopped.signal.aborted) throw error
} finally {
  await client.close()
}
