/** Follows two topics from an hour ago, tells when it has caught up, and ends with Ctrl-C. */
import { connect, defineTopic, json, text } from 'millrace'

const Orders = defineTopic({ name: 'orders', key: text(), value: json<{ id: string; total: number }>() })
const Payments = defineTopic({ name: 'payments', key: text(), value: json<{ orderId: string }>() })

const stopped = new AbortController()
process.once('SIGINT', () => stopped.abort())

const client = connect(process.env.MILLRACE_URL ?? 'ws://127.0.0.1:4600')
client.on('reconnecting', ({ delayMs, error }) => {
  console.error(`${error.message}; again in ${Math.round(delayMs)} ms`)
})
await client.ensureTopic(Orders)
await client.ensureTopic(Payments)

const anHourAgo = new Date(Date.now() - 3_600_000)
const records = client.read([Orders, Payments], { from: anHourAgo, signal: stopped.signal })
void records.caughtUp.then(
  () => console.error('caught up'),
  () => {},
)
try {
  for await (const record of records) {
    if (record.topic === 'orders') console.log(`order ${record.value.id}: ${record.value.total}`)
    else console.log(`payment of ${record.value.orderId}`)
  }
} catch (error) {
  if (!stopped.signal.aborted) throw error
} finally {
  await client.close()
}
