import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, defineTopic, MillraceError, text } from 'millrace'
import type { MemberEvent, MemberSettings } from './member-process.js'
import { SeededRandom } from './seeded-random.js'

// Run as a process of its own: a member of a group that does one kind of work, and says on stdout what it does before it goes on.

const settings = JSON.parse(process.env.MEMBER ?? '') as MemberSettings
const { group, sessionTimeoutMs } = settings
const In = defineTopic({ name: settings.topic, key: text(), value: text() })
const random = new SeededRandom(settings.seed ?? 1)
const commands = createInterface(process.stdin)
const client = connect(settings.url, {
  clientName: settings.kind,
  backoffCapMs: 200,
  requestTimeoutMs: 60_000,
})

function say(event: MemberEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

const consume = () => client.consume(In, { group, sessionTimeoutMs, ifNoCursor: 'earliest' })

/** What every input becomes: where it was, in the partition of the same number. */
const made = (
  Out: ReturnType<typeof outTopic>,
  r: { key: string | null; partition: number; offset: number },
) => Out.record({ key: r.key, value: `${r.partition}/${r.offset}`, partition: r.partition })

const outTopic = () => defineTopic({ name: settings.out ?? '', key: text(), value: text() })

/** Consume, transform, produce: one by one, batch by batch, or many at a time. */
async function copy(): Promise<void> {
  const Out = outTopic()
  const one = async (record: Parameters<typeof made>[1] & Acknowledgeable): Promise<void> => {
    await client.atomic({ writes: [made(Out, record)], acks: [record] })
    say({ type: 'wrote', partition: record.partition, offset: record.offset })
  }
  if (settings.style === 'run') {
    await consume().run(one, { concurrency: 16, order: 'none' })
  } else if (settings.style === 'batches') {
    for await (const { records, partition, nextOffset } of consume().batches()) {
      await client.atomic({ writes: records.map((record) => made(Out, record)), acks: records })
      say({ type: 'wrote', partition, offset: nextOffset - 1 })
    }
  } else {
    for await (const record of consume()) await one(record)
  }
}

type Acknowledgeable = NonNullable<Parameters<Client['atomic']>[0]['acks']>[number]

/** Acknowledges now and then, and waits for it now and then. */
async function acknowledge(): Promise<void> {
  const consumer = consume()
  const open: Promise<void>[] = []
  for await (const record of consumer) {
    const { partition, offset } = record
    say({ type: 'given', partition, offset })
    if (!random.chance(0.3)) continue
    say({ type: 'acking', partition, offset })
    const acked = record.acked().then(() => say({ type: 'acked', partition, offset }))
    acked.catch(() => {})
    open.push(acked)
    if (random.chance(0.3)) await Promise.all(open.splice(0))
  }
}

/** Does with each record what it is told: a word on stdin for each. */
async function hold(): Promise<void> {
  const consumer = consume()
  for await (const record of consumer) {
    const { partition, offset } = record
    say({ type: 'given', partition, offset })
    const [line] = (await once(commands, 'line')) as [string]
    const [word, ms] = line.split(' ')
    const acked = record.acked().then(
      () => say({ type: 'acked', partition, offset }),
      (error: unknown) => say({ type: 'refused', partition, offset, code: codeOf(error) }),
    )
    // The ack is sent when the loop turns again: by then it is too late for it.
    if (word === 'block') block(Number(ms))
    await acked
  }
}

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** Takes a job and keeps it until it is told to go on; "all" acknowledges whatever comes from then on. */
async function work(): Promise<void> {
  const { leaseMs = 30_000, maxDeliveries = 5, prefetch = 32 } = settings
  let takesAll = false
  commands.on('line', (line) => {
    takesAll ||= line === 'all'
  })
  for await (const job of client.queue(In, { group, sessionTimeoutMs, leaseMs, maxDeliveries, prefetch })) {
    const { partition, offset, deliveryCount } = job
    if (offset === settings.poison) process.kill(process.pid, 'SIGKILL')
    say({ type: 'given', partition, offset, count: deliveryCount })
    if (!takesAll) await once(commands, 'line')
    await job.ack()
    say({ type: 'acked', partition, offset })
  }
}

const codeOf = (error: unknown): string => (error instanceof MillraceError ? error.code : String(error))

const does = { copy, acknowledge, hold, work }[settings.kind]
for (;;) {
  say({ type: 'began' })
  // As a program would that is run again whenever it fails.
  await does().then(
    () => say({ type: 'ended' }),
    (error: unknown) => say({ type: 'ended', code: codeOf(error) }),
  )
  if (settings.once) break
  await sleep(20)
}
await client.close()
commands.close()
