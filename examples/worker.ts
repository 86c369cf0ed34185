/**
 * A worker of a queue: mails are shared among all workers of the group, four at a time here. What fails is tried again after a
 * pause that grows, five times at most, then it is a dead letter: `millrace dlq list mails post`. Ctrl-C finishes what is in hand.
 */
import { connect, defineTopic, json, text } from 'millrace'

const Mails = defineTopic({ name: 'mails', key: text(), value: json<{ subject: string }>() })

const client = connect(process.env.MILLRACE_URL ?? 'ws://127.0.0.1:4600', {
  clientName: `worker-${process.pid}`,
})
// Mails that every group has done are deleted, and those of a group that is gone for a week wait no longer.
await client.ensureTopic(Mails, {
  partitions: 4,
  retention: { untilAcked: true, cursorIdleMs: 7 * 24 * 3_600_000 },
})

const queue = client.queue(Mails, { group: 'post', maxDeliveries: 5 })
process.once('SIGINT', () => void queue.close())

await queue.run(
  async (mail) => {
    console.log(`to ${mail.key}, delivery ${mail.deliveryCount}: ${mail.value.subject}`)
    // The lease is extended for as long as this takes. The signal aborts if the job becomes another worker's all the same.
    await deliver(mail.key ?? '', mail.signal)
  },
  { concurrency: 4, onFailed: (error, mail) => console.error(`to ${mail.key}:`, error) },
)
await client.close()

async function deliver(address: string, signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 100))
  signal.throwIfAborted()
  if (!address.includes('@')) throw new Error('not an address')
}
