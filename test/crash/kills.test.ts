import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'

const isLong = process.env.MILLRACE_LONG === '1'
const seconds = isLong ? 30 : 6
const PRODUCERS = 10
const READERS = 10
const PARTITIONS = 8
/** Sends that a producer has unanswered: retries then carry several batches, and their order matters. */
const UNANSWERED = 20
const Work = defineTopic({ name: 'work', key: text(), value: text() })

interface Acknowledged {
  readonly partition: number
  readonly offset: number
  readonly value: string
}

/** Sends numbered values until told to stop; the number counts per partition. */
async function produce(client: Client, name: string, isOver: () => boolean): Promise<Acknowledged[]> {
  const producer = client.producer(Work, { deliveryTimeoutMs: 120_000 })
  const acknowledged: Acknowledged[] = []
  const next = Array.from({ length: PARTITIONS }, () => 0)
  const open = new Set<Promise<void>>()
  for (let n = 0; !isOver(); n++) {
    const partition = n % PARTITIONS
    const value = `${name}/${next[partition]} ${'x'.repeat(n % 7 === 0 ? 3_000 : 50)}`
    next[partition] = (next[partition] ?? 0) + 1
    const sent: Promise<void> = producer.send({ key: null, value, partition }).then(({ offset }) => {
      acknowledged.push({ partition, offset, value })
      open.delete(sent)
    })
    open.add(sent)
    if (open.size >= UNANSWERED) await Promise.race(open)
  }
  await Promise.all(open)
  await producer.close()
  return acknowledged
}

/** Follows all partitions and fails at the first gap or repeat; returns how many records it saw. */
async function follow(client: Client, signal: AbortSignal): Promise<number> {
  const next = Array.from({ length: PARTITIONS }, () => 0)
  let count = 0
  try {
    for await (const record of client.read(Work, { from: 'earliest', signal })) {
      if (record.offset !== next[record.partition]) {
        throw new Error(
          `partition ${record.partition}: offset ${record.offset} came, ${next[record.partition]} was due`,
        )
      }
      next[record.partition] = record.offset + 1
      count++
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return count
}

test(`ten producers and ten readers lose, repeat and reorder nothing through ${seconds} s of SIGKILLs`, {
  timeout: 300_000,
}, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-kills-'))
  // Small, so that segments roll and chunks seal between the kills.
  const broker = new BrokerProcess({
    dataDir,
    flags: { 'wal-segment-bytes': '8MiB', 'wal-bytes-max': '128MiB', 'chunk-bytes': '256KiB' },
  })
  await broker.start()
  const open = (): Client => connect(broker.url, { requestTimeoutMs: 60_000, backoffCapMs: 300 })
  const clients = Array.from({ length: PRODUCERS + READERS }, open)
  try {
    await (clients[0] as Client).ensureTopic(Work, { partitions: PARTITIONS })
    let isOver = false
    const reading = new AbortController()
    const producers = clients.slice(0, PRODUCERS).map((client, i) => produce(client, `p${i}`, () => isOver))
    const readers = clients.slice(PRODUCERS).map((client) => follow(client, reading.signal))
    const watched = Promise.all([...producers, ...readers])
    const kills = await Promise.race([killAgainAndAgain(broker), watched.then(() => -1)])
    isOver = true
    const acknowledged = (await Promise.all(producers)).flat()
    const stored = await readAll(clients[0] as Client)
    await sleep(500)
    reading.abort()
    const seen = await Promise.all(readers)
    console.log(
      `kills ${kills}, acknowledged ${acknowledged.length}, stored ${stored.length}, seen by each reader ${Math.min(...seen)} to ${Math.max(...seen)}`,
    )
    expect(kills).toBeGreaterThanOrEqual(3)
    check(acknowledged, stored)
    // Readers that had not reached the end when they were stopped would prove little.
    for (const count of seen) expect(count).toBe(stored.length)
  } finally {
    await Promise.all(clients.map((client) => client.close({ drainMs: 0 })))
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
})

async function killAgainAndAgain(broker: BrokerProcess): Promise<number> {
  const untilMs = performance.now() + seconds * 1000
  let kills = 0
  while (performance.now() < untilMs) {
    await sleep(600 + Math.random() * 900)
    await broker.kill()
    kills++
    await sleep(Math.random() * 200)
    await broker.start()
  }
  return kills
}

async function readAll(client: Client): Promise<Acknowledged[]> {
  const records: Acknowledged[] = []
  for await (const { partition, offset, value } of client.read(Work, { from: 'earliest', to: 'end' })) {
    records.push({ partition, offset, value })
  }
  return records
}

function check(acknowledged: readonly Acknowledged[], stored: readonly Acknowledged[]): void {
  const at = new Map(stored.map((record) => [`${record.partition}:${record.offset}`, record.value]))
  const lost = acknowledged.filter(
    ({ partition, offset, value }) => at.get(`${partition}:${offset}`) !== value,
  )
  expect(lost.slice(0, 3)).toEqual([])
  expect(acknowledged.length).toBeGreaterThan(1_000)
  const due = new Map<string, number>()
  for (const { partition, value } of [...stored].sort(
    (a, b) => a.partition - b.partition || a.offset - b.offset,
  )) {
    const [name, number] = value.split(/[/ ]/)
    const producer = `${partition}:${name}`
    // One more than the one before: none missing, none twice, none out of order.
    if (Number(number) !== (due.get(producer) ?? 0)) {
      throw new Error(`partition ${partition}: ${name} has ${number} where ${due.get(producer) ?? 0} was due`)
    }
    due.set(producer, Number(number) + 1)
  }
}
