import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { DiskGauge } from '../support/disk-gauge.js'
import { GroupLedger, type Sent } from '../support/group-ledger.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

const isLong = process.env.MILLRACE_LONG === '1'
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const KILLS = isLong ? 20 : 3
const KIB = 1024
const MIB = 1024 * KIB
const CHUNK_BYTES = 128 * KIB
const WAL_BYTES_MAX = 8 * MIB
const MAX_LAG_BYTES = 512 * KIB
const PARTITIONS = 2
const CHUNKS_MAX = 3
/** How far the slow group is behind. */
const SLOW_MS = 1_500
const FORGOTTEN_CHUNKS_MAX = MAX_LAG_BYTES / CHUNK_BYTES + CHUNKS_MAX
/**
 * A broker that has just started is given at once what gathered meanwhile, and chunks are sealed faster than they can go: it may be
 * over the bounds for a while. When so many more are sealed, over twice as many as may be there, it has to get below them again.
 */
const SEALED_MIN = { wanted: 20, forgotten: 2 * FORGOTTEN_CHUNKS_MAX }

/** Two groups acknowledge it, one of them late. */
const Wanted = defineTopic({ name: 'wanted', key: text(), value: text() })
/** A group has begun it and never comes back. */
const Forgotten = defineTopic({ name: 'forgotten', key: text(), value: text() })
/** No group has ever read it. It is nearly cold: what holds the WAL. */
const Unread = defineTopic({ name: 'unread', key: text(), value: text() })

type Plain = typeof Wanted | typeof Forgotten | typeof Unread

/** Sends at a steady rate until told to stop. */
async function produce(
  client: Client,
  {
    topic,
    bytes,
    perSecond,
    isOver,
  }: { topic: Plain; bytes: number; perSecond: number; isOver: () => boolean },
): Promise<Sent[]> {
  const producer = client.producer(topic, { deliveryTimeoutMs: 120_000, batchBytes: 32 * KIB })
  const sent: Sent[] = []
  const open = new Set<Promise<void>>()
  let startedMs = performance.now()
  for (let n = 0; !isOver(); n++) {
    const value = `${n} ${'x'.repeat(bytes)}`
    const sending = producer.send({ key: `${n}`, value }).then(({ partition, offset }) => {
      sent.push({ partition, offset, value })
      open.delete(sending)
    })
    open.add(sending)
    if (open.size > perSecond / 2) await Promise.race(open)
    const dueMs = ((n + 1) / perSecond) * 1000
    const earlyMs = dueMs - (performance.now() - startedMs)
    if (earlyMs > 10) await sleep(earlyMs)
    // What it missed while the broker was away it does not make up for.
    else if (earlyMs < -100) startedMs -= earlyMs
  }
  await Promise.all(open)
  await producer.close()
  return sent
}

/** Groups leave in good order while it is closed: what they are given after a restart is what the broker knows of them. */
class Door {
  isClosed = false
  outside = 0
  #open: () => void = () => {}
  #opened: Promise<void> = Promise.resolve()

  close(): void {
    this.isClosed = true
    this.#opened = new Promise((resolve) => {
      this.#open = resolve
    })
  }

  open(): void {
    this.isClosed = false
    this.#open()
  }

  async pass(): Promise<void> {
    this.outside++
    await this.#opened
    this.outside--
  }
}

/** A group of one, which leaves now and then and comes back. */
async function consume(
  client: Client,
  ledger: GroupLedger,
  {
    group,
    delayMs,
    random,
    door,
    signal,
  }: { group: string; delayMs: number; random: SeededRandom; door: Door; signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    await door.pass()
    const consumer = client.consume(Wanted, { group, ifNoCursor: 'earliest', signal })
    try {
      for await (const record of consumer) {
        ledger.given(record)
        const earlyMs = record.appendTime + delayMs - Date.now()
        if (earlyMs > 0) await sleep(earlyMs)
        const answered = (): void => ledger.acked(record)
        const how = random.fraction()
        if (how < 0.02) await record.acked().then(answered)
        else if (how < 0.5) void record.acked().then(answered, () => {})
        else if (how < 0.8) record.ack()
        if (door.isClosed || random.chance(0.001)) break
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

test(`what both groups acknowledged is deleted under load, and nothing else, through ${KILLS} SIGKILLs`, {
  timeout: 600_000,
}, async () => {
  console.log(
    `seed ${seed}: MILLRACE_SEED=${seed} ${isLong ? 'npm run test:retention' : 'npx vitest run test/crash/retention-process'}`,
  )
  const random = new SeededRandom(seed)
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-retention-'))
  const broker = new BrokerProcess({
    dataDir,
    flags: {
      'batch-bytes-max': '256KiB',
      'record-bytes-max': '64KiB',
      'group-bytes-max': '256KiB',
      'wal-segment-bytes': '1MiB',
      'wal-bytes-max': `${WAL_BYTES_MAX}`,
      'chunk-bytes': `${CHUNK_BYTES}`,
      'snapshot-every-bytes': '2MiB',
      'manifest-flush-ms': '100',
    },
  })
  await broker.start()
  const open = (): Client => connect(broker.url, { backoffCapMs: 100, requestTimeoutMs: 60_000 })
  const clients = [open(), open(), open(), open()] as const
  const [admin, producers, ...consumers] = clients
  const gauge = new DiskGauge(dataDir)
  const ended = new AbortController()
  const door = new Door()
  try {
    const retention = { untilAcked: true }
    await admin.createTopic(Wanted, { partitions: PARTITIONS, retention })
    await admin.createTopic(Unread, { retention })
    await admin.createTopic(Forgotten, {
      retention: { ...retention, maxLagBytes: MAX_LAG_BYTES, onLag: 'drop' },
    })
    gauge.follow(admin)
    await beginAndForget(admin)
    let isOver = false
    const load = { bytes: 1_000, isOver: () => isOver }
    const producing = [
      produce(producers, { ...load, topic: Wanted, perSecond: 500 }),
      produce(producers, { ...load, topic: Forgotten, perSecond: 400 }),
      produce(producers, { ...load, topic: Unread, perSecond: 20 }),
    ]
    const ledgers = { fast: new GroupLedger('fast'), slow: new GroupLedger('slow') }
    const delays = { fast: 0, slow: SLOW_MS }
    const groups = (['fast', 'slow'] as const).map((group, i) =>
      consume(consumers[i] as Client, ledgers[group], {
        group,
        delayMs: delays[group],
        random: random.fork(),
        door,
        signal: ended.signal,
      }),
    )
    const failed = Promise.all(groups).then(() => {})
    const most: Most = {
      passed: 0,
      passedMs: 0,
      forgotten: 0,
      forgottenMs: 0,
      within: { passed: 0, forgotten: 0 },
    }
    const watching = watch(most, { gauge, client: admin, isOver: () => isOver })
    for (let n = 0; n < KILLS; n++) {
      await Promise.race([sleep(800 + random.below(800)), failed])
      if (n % 3 === 1) {
        door.close()
        await Promise.race([until(() => door.outside === groups.length), failed])
      }
      await broker.kill()
      await sleep(random.below(200))
      await broker.start()
      door.open()
    }
    await Promise.race([staysWithin(most, gauge), failed])
    await until(() => gauge.events.some(({ type }) => type === 'lagDropped'))
    isOver = true
    const [wanted = [], forgotten = [], unread = []] = await Promise.all(producing)
    await watching
    const isAllGiven = () => Object.values(ledgers).every(({ records }) => records >= wanted.length)
    await Promise.race([until(isAllGiven), failed])
    ended.abort()
    await failed
    console.log(
      `${KILLS} kills, ${wanted.length} records given to two groups, ${ledgers.fast.again + ledgers.slow.again} again; ` +
        `WAL at most ${gauge.walBytesMax} bytes; ${JSON.stringify(most)}`,
    )
    for (const ledger of Object.values(ledgers)) expect(ledger.missing(wanted)).toBeUndefined()
    expect(gauge.walBytesMax).toBeLessThan(WAL_BYTES_MAX)
    await settled(gauge, admin)
    expect(await readAll(admin, Unread)).toEqual(unread.map(({ value }) => value))
    await checkForgotten(admin, { gauge, output: broker.output, sent: forgotten.length })
  } finally {
    ended.abort()
    await gauge.close()
    await Promise.all(clients.map((client) => client.close({ drainMs: 0 })))
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
})

/** A group acknowledges the first record and is never seen again. */
async function beginAndForget(client: Client): Promise<void> {
  await client.producer(Forgotten).send({ key: null, value: 'first' })
  for await (const record of client.consume(Forgotten, { group: 'gone', ifNoCursor: 'earliest' })) {
    await record.acked()
    break
  }
}

/** How much there was at the most, in chunks of full size; and how long at a stretch it was more than it may be. */
interface Most {
  /** Of a partition, in chunks that both groups had passed. */
  passed: number
  passedMs: number
  /** Of the topic whose group is gone. */
  forgotten: number
  forgottenMs: number
  /** How often it was no more than it may be when looked at. */
  readonly within: { passed: number; forgotten: number }
}

async function watch(
  most: Most,
  { gauge, client, isOver }: { gauge: DiskGauge; client: Client; isOver: () => boolean },
): Promise<void> {
  const overMs = { passed: 0, forgotten: 0 }
  let lookedMs = performance.now()
  while (!isOver()) {
    // Cursors first: what they pass meanwhile does not count.
    const positions = await slowest(client)
    const passed = positions.map((position, n) => gauge.chunkBytes(Wanted.name, n, position) / CHUNK_BYTES)
    const forgotten = gauge.chunkBytes(Forgotten.name, 0) / CHUNK_BYTES
    most.passed = Math.max(most.passed, ...passed)
    most.forgotten = Math.max(most.forgotten, forgotten)
    // Not the time that the broker was away.
    const sinceMs = Math.min(200, performance.now() - lookedMs)
    lookedMs = performance.now()
    overMs.passed = Math.max(...passed) > CHUNKS_MAX ? overMs.passed + sinceMs : 0
    overMs.forgotten = forgotten > FORGOTTEN_CHUNKS_MAX ? overMs.forgotten + sinceMs : 0
    if (overMs.passed === 0 && Math.min(...positions) > 0) most.within.passed++
    if (overMs.forgotten === 0) most.within.forgotten++
    most.passedMs = Math.max(most.passedMs, overMs.passed)
    most.forgottenMs = Math.max(most.forgottenMs, overMs.forgotten)
    await sleep(40)
  }
}

/** While records come and chunks are sealed. With nothing new, and at a start, what is left over goes in any case. */
async function staysWithin(most: Most, gauge: DiskGauge): Promise<void> {
  const sealed = ({ name }: Plain): number =>
    gauge.events.filter((event) => event.type === 'chunkSealed' && event.topic === name).length
  const before = { wanted: sealed(Wanted), forgotten: sealed(Forgotten) }
  await until(
    () =>
      sealed(Wanted) - before.wanted > SEALED_MIN.wanted &&
      sealed(Forgotten) - before.forgotten > SEALED_MIN.forgotten,
    { timeoutMs: 200_000 },
  )
  const { passed, forgotten } = most.within
  await until(() => most.within.passed > passed && most.within.forgotten > forgotten)
}

/** The slower group's cursor in each partition. */
async function slowest(client: Client): Promise<number[]> {
  const groups = await Promise.all(
    ['fast', 'slow'].map((group) => client.groups.describe(group).catch(() => undefined)),
  )
  return Array.from({ length: PARTITIONS }, (_, n) =>
    Math.min(
      ...groups.map((group) => group?.partitions.find(({ partition }) => partition === n)?.position ?? 0),
    ),
  )
}

/** When both groups have it all, nothing that they passed is left. */
async function settled(gauge: DiskGauge, client: Client): Promise<void> {
  await until(async () => {
    const positions = await slowest(client)
    return positions.every((position, n) => gauge.chunkBytes(Wanted.name, n, position) === 0)
  })
}

/** It is deleted all the same, and that was said, in the log and among the changes. */
async function checkForgotten(
  client: Client,
  { gauge, output, sent }: { gauge: DiskGauge; output: string; sent: number },
): Promise<void> {
  const look = async () => {
    const { partitions } = await client.groups.describe('gone')
    const { position = 0, startOffset = 0, endOffset = 0 } = partitions[0] ?? {}
    return { position, startOffset, endOffset }
  }
  let { position, startOffset, endOffset } = await look()
  let first = ''
  // The last chunk that is too much may go between two looks.
  for (let before = -1; startOffset !== before; { position, startOffset, endOffset } = await look()) {
    before = startOffset
    first = (await client.read(Forgotten, { from: 'earliest' }).next()).value?.value ?? ''
  }
  expect(position).toBe(1)
  // The first record was nobody's load.
  expect(endOffset).toBe(sent + 1)
  expect(startOffset).toBeGreaterThan(position)
  expect(first).toMatch(new RegExp(`^${startOffset - 1} `))
  const told = gauge.events.filter((event) => 'group' in event && event.group === 'gone')
  const types = told.map(({ type }) => type)
  expect(types).toContain('lagDropped')
  expect(types).toContain('lagWarning')
  expect(output).toMatch(/deleted \(lagDrop\), and group \\?"gone\\?" had not passed offset 1/)
}

async function readAll(client: Client, topic: Plain): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.read(topic, { from: 'earliest', to: 'end' })) values.push(value)
  return values
}
