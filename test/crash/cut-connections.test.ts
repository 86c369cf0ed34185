import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, connect, type ReadRecord } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import {
  CutWorkload,
  In,
  isPoison,
  Jobs,
  Left,
  Out,
  PARTITIONS,
  placeOf,
  Right,
} from '../support/cut-workload.js'
import { CuttingProxy } from '../support/cutting-proxy.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

const isLong = process.env.MILLRACE_LONG === '1'
const first = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const seeds = Number(process.env.MILLRACE_SEEDS ?? (isLong ? 5 : 1))
const TROUBLE_MS = isLong ? 20_000 : 4_000
/** On a busy machine it goes on until so much has happened. */
const TROUBLES_MIN = 20

test(`groups, queues, dedup ids and atomic writes keep what they say over connections that are cut and frozen, ${seeds} seeds`, {
  timeout: 3_600_000,
}, async () => {
  for (let seed = first; seed < first + seeds; seed++) {
    const replay = `MILLRACE_SEED=${seed} MILLRACE_SEEDS=1 ${isLong ? 'MILLRACE_LONG=1 ' : ''}npx vitest run test/crash/cut-connections`
    console.log(`seed ${seed}: ${replay}`)
    await run(new SeededRandom(seed))
  }
})

async function run(random: SeededRandom): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-cut-'))
  const broker = new BrokerProcess({ dataDir, flags: { 'heartbeat-ms': '300', 'chunk-bytes': '64KiB' } })
  await broker.start()
  const proxy = await CuttingProxy.listen(random.fork(), () => Number(new URL(broker.url).port))
  const clients: Client[] = []
  const stop = new AbortController()
  let isOver = false
  const actor = () => {
    const client = connect(proxy.url, {
      backoffBaseMs: 20,
      backoffCapMs: 100,
      pingIntervalMs: 300,
      pingTimeoutMs: 300,
      connectTimeoutMs: 1_000,
    })
    clients.push(client)
    return { client, random: random.fork(), isOver: () => isOver }
  }
  const admin = connect(broker.url)
  clients.push(admin)
  try {
    for (const topic of [In, Out, Left, Right, Jobs])
      await admin.createTopic(topic, { partitions: PARTITIONS })
    const workload = new CutWorkload()
    const writing = Promise.all([
      workload.produce('p0', actor()),
      workload.produce('p1', actor()),
      workload.writePairs(actor()),
      workload.produceJobs(actor()),
    ])
    const reading = Promise.all([
      workload.read(actor(), stop.signal),
      workload.read(actor(), stop.signal),
      workload.copy(actor(), stop.signal),
      workload.copy(actor(), stop.signal),
      workload.work(actor(), stop.signal),
      workload.work(actor(), stop.signal),
    ]).then(() => {})
    const isEnough = () => proxy.counts.cuts + proxy.counts.freezes > TROUBLES_MIN
    const trouble = sleep(TROUBLE_MS).then(() => until(isEnough, { timeoutMs: 300_000 }))
    await Promise.race([trouble, reading, writing.then(() => trouble)])
    const counts = { ...proxy.counts }
    isOver = true
    proxy.becomeHonest()
    await Promise.race([writing, reading])
    await workload.finish(admin)
    const isDone = async () => (await lagOf(admin)) === 0
    await Promise.race([until(isDone, { timeoutMs: 300_000, everyMs: 100 }), reading])
    stop.abort()
    await reading
    const { ids, plain, pairs, jobs, jobsAcked, givenAgain, ends } = workload
    console.log(
      `${JSON.stringify(counts)}; ${ids.size} ids, ${plain.size} records without, ${givenAgain} given again, ${pairs.length} pairs, ` +
        `${jobs.length} jobs, ${jobsAcked.size} acknowledged for sure; loops ended by ${JSON.stringify(Object.fromEntries(ends))}`,
    )
    await check(admin, workload)
  } finally {
    stop.abort()
    await Promise.all(clients.map((client) => client.close({ drainMs: 0 })))
    await proxy.close()
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
}

/** Records that any of the groups has not acknowledged. */
async function lagOf(client: Client): Promise<number> {
  let lag = 0
  for (const group of ['readers', 'copiers', 'workers']) {
    const { partitions } = await client.groups.describe(group)
    lag += partitions.length === PARTITIONS ? 0 : 1
    for (const partition of partitions) lag += partition.lag.records
  }
  return lag
}

async function check(client: Client, workload: CutWorkload): Promise<void> {
  const input = await readAll(client, In)
  const named = new Map<string, ReadRecord[]>()
  for (const record of input) {
    const [name = ''] = String(record.value).split(' ')
    named.set(name, [...(named.get(name) ?? []), record])
  }
  // What was sent is there once, where the answers said.
  for (const [name, answers] of [...workload.ids, ...workload.plain]) {
    const places = (named.get(name) ?? []).map(placeOf)
    expect(places, name).toHaveLength(1)
    for (const answer of answers) expect(placeOf(answer), name).toBe(places[0])
    expect(answers.filter(({ duplicate }) => !duplicate).length, name).toBeLessThanOrEqual(1)
  }
  expect(named.size).toBe(workload.ids.size + workload.plain.size)
  checkOrder(input)

  // Each was given to the group, and became one of `out`.
  expect(input.map(placeOf).filter((place) => !workload.given.has(place))).toEqual([])
  const copied = (await readAll(client, Out)).map(({ value }) => String(value))
  expect(copied.sort()).toEqual(input.map(placeOf).sort())

  const [left, right] = [await valuesOf(client, Left), await valuesOf(client, Right)]
  expect(left).toEqual(right)
  expect(left).toEqual([...workload.pairs].sort())
  await checkJobs(client, workload)
}

/** Of each producer and partition, what has no dedup id stands in the order of its calls. */
function checkOrder(input: readonly ReadRecord[]): void {
  const last = new Map<string, number>()
  for (const { partition, value } of input) {
    const [, name, number] = /^(p\d)-(\d+) /.exec(String(value)) ?? []
    if (name === undefined) continue
    const producer = `${name} in partition ${partition}`
    expect(Number(number), producer).toBeGreaterThan(last.get(producer) ?? -1)
    last.set(producer, Number(number))
  }
}

/** Each is there once, and done or a dead letter; those that always fail are dead letters. */
async function checkJobs(client: Client, { jobs, jobsAcked, jobsTried }: CutWorkload): Promise<void> {
  const stored = await readAll(client, Jobs)
  expect(stored.map(({ value }) => String(value)).sort()).toEqual([...jobs].sort())
  const dead: string[] = []
  for await (const { origin } of client.deadLetters.list(Jobs, 'workers')) dead.push(placeOf(origin))
  expect(new Set(dead).size).toBe(dead.length)
  expect(dead.filter((place) => jobsAcked.has(place))).toEqual([])
  for (const job of stored) {
    const place = placeOf(job)
    if (isPoison(String(job.value))) expect(dead, place).toContain(place)
    else expect(dead.includes(place) || jobsTried.has(place), place).toBe(true)
  }
}

async function readAll(client: Client, topic: typeof In | typeof Out | typeof Jobs): Promise<ReadRecord[]> {
  const records: ReadRecord[] = []
  for await (const record of client.read(topic, { from: 'earliest', to: 'end' })) records.push(record)
  return records
}

async function valuesOf(client: Client, topic: typeof Left | typeof Right): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of client.read(topic, { from: 'earliest', to: 'end' })) values.push(value)
  return values.sort()
}
