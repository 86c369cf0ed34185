import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type AnyTopic, type Client, connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { ChildScript } from '../support/child-script.js'
import {
  MEMBER_SCRIPT,
  type MemberEvent,
  MemberProcess,
  type MemberSettings,
} from '../support/member-process.js'
import { SeededRandom } from '../support/seeded-random.js'
import { until } from '../support/until.js'

const isLong = process.env.MILLRACE_LONG === '1'
const KILLS = isLong ? 30 : 4
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1_000_000)
const PARTITIONS = 4
const SESSION_TIMEOUT_MS = 1_000
const INPUTS_MIN = 50 * KILLS
/** Records a second: enough that every kill finds work under way. */
const RATE = 150

const In = defineTopic({ name: 'in', key: text(), value: text() })
const Out = defineTopic({ name: 'out', key: text(), value: text() })

/** A place at the table: the process in it is killed and replaced, what each of them said is kept. */
class Seat {
  readonly lives: MemberProcess[] = []
  readonly #script: ChildScript
  readonly #settings: () => MemberSettings

  constructor(script: ChildScript, settings: () => MemberSettings) {
    this.#script = script
    this.#settings = settings
    this.start()
  }

  start(): void {
    this.lives.push(new MemberProcess(this.#script, this.#settings()))
  }

  async kill(): Promise<void> {
    await this.lives.at(-1)?.kill()
  }

  get isAtWork(): boolean {
    return this.lives.at(-1)?.events.some(({ type }) => type === 'given' || type === 'wrote') ?? false
  }

  get events(): MemberEvent[] {
    return this.lives.flatMap(({ events }) => events)
  }

  /** Whether it was given a record that it has not begun to acknowledge: it comes again when this process is dead. */
  get isBehind(): boolean {
    const [given, acked] = [new Map<number, number>(), new Map<number, number>()]
    for (const { type, partition = 0, offset = 0 } of this.events) {
      const latest = type === 'given' ? given : type === 'acking' ? acked : undefined
      latest?.set(partition, Math.max(offset, latest.get(partition) ?? 0))
    }
    return [...given].some(([partition, offset]) => offset > (acked.get(partition) ?? -1))
  }
}

test(`every input is in the output exactly once, and no ack is lost, through ${KILLS} SIGKILLs of broker and members`, {
  timeout: 300_000,
}, async () => {
  const replay = `MILLRACE_SEED=${seed} ${isLong ? 'MILLRACE_LONG=1 ' : ''}npm run test:exactly-once`
  console.log(`seed ${seed}: ${replay}`)
  const random = new SeededRandom(seed)
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-exactly-once-'))
  const script = await ChildScript.compile(MEMBER_SCRIPT)
  // Small, so that segments roll, chunks seal and snapshots are taken between the kills.
  const flags = { 'wal-segment-bytes': '6MiB', 'wal-bytes-max': '64MiB', 'chunk-bytes': '64KiB' }
  const broker = new BrokerProcess({ dataDir, flags })
  const seats: Seat[] = []
  await broker.start()
  const client = connect(broker.url, { requestTimeoutMs: 60_000, backoffCapMs: 200 })
  try {
    await client.ensureTopic(In, { partitions: PARTITIONS })
    await client.ensureTopic(Out, { partitions: PARTITIONS })
    const settings = {
      url: broker.url,
      topic: In.name,
      out: Out.name,
      sessionTimeoutMs: SESSION_TIMEOUT_MS,
    }
    const copier = (): MemberSettings => ({
      ...settings,
      kind: 'copy',
      group: 'copiers',
      style: random.pick(['loop', 'batches', 'run'] as const),
    })
    const acknowledger = (): MemberSettings => ({
      ...settings,
      kind: 'acknowledge',
      group: 'acknowledgers',
      seed: random.uint32(),
    })
    seats.push(new Seat(script, copier), new Seat(script, copier), new Seat(script, acknowledger))
    let isOver = false
    const producing = produce(client, () => isOver)
    const kills = await killAgainAndAgain({ random, broker, seats })
    isOver = true
    const inputs = await producing
    try {
      await reaches(inputs.length, () => copiedOf(client))
      await reaches(inputs.length, () => givenOf(seats[2]?.events ?? []))
    } catch (error) {
      const groups = [await client.groups.describe('copiers'), await client.groups.describe('acknowledgers')]
      const last = seats.map(({ lives, events }) => ({ lives: lives.length, last: events.slice(-3) }))
      console.log(`stuck: ${JSON.stringify({ groups, last }, undefined, 1)}`)
      throw error
    }
    for (const seat of seats) await seat.kill()
    const codes = endsOf(seats.flatMap(({ events }) => events))
    console.log(`kills ${JSON.stringify(kills)}, inputs ${inputs.length}, loops ended by ${codes}`)
    expect(inputs.length).toBeGreaterThan(INPUTS_MIN)
    checkOutputs(await readAll(client, Out), await readAll(client, In))
    checkAcks(seats[2]?.events ?? [])
    for (const code of codes) expect(['FENCED', 'UNKNOWN_MEMBER', 'ALREADY_ACKED']).toContain(code)
  } finally {
    for (const seat of seats) await seat.kill()
    await client.close({ drainMs: 0 })
    await broker.kill()
    script.remove()
    await rm(dataDir, { recursive: true })
  }
})

async function produce(client: Client, isOver: () => boolean): Promise<string[]> {
  const producer = client.producer(In, { deliveryTimeoutMs: 120_000 })
  const sent: Promise<unknown>[] = []
  const inputs: string[] = []
  while (!isOver() || inputs.length <= INPUTS_MIN) {
    for (let i = 0; i < RATE / 20; i++) {
      const value = `input ${inputs.length}`
      inputs.push(value)
      sent.push(producer.send({ key: `k${inputs.length % 50}`, value }))
    }
    await sleep(50)
  }
  await Promise.all(sent)
  await producer.close()
  return inputs
}

async function killAgainAndAgain({
  random,
  broker,
  seats,
}: {
  random: SeededRandom
  broker: BrokerProcess
  seats: readonly Seat[]
}): Promise<Record<string, number>> {
  const kills = { broker: 0, copiers: 0, acknowledger: 0 }
  for (let n = 0; n < KILLS; n++) {
    await sleep(200 + random.below(isLong ? 1_000 : 500))
    // Each has its turn once; after that it is anybody's.
    const victim = n < 4 ? n : random.below(6)
    const seat = seats[victim]
    // The long form kills them at any time. A member that is gone when the broker starts holds up its partitions for 10 s.
    if (n < 4 || !isLong) await until(() => seats.every(({ isAtWork }) => isAtWork))
    if (seat === undefined) {
      await broker.kill()
      await sleep(random.below(300))
      await broker.start()
      kills.broker++
    } else {
      await seat.kill()
      // A kill that met nothing to be given again shows nothing.
      if (victim === 2 && !seat.isBehind) n--
      await sleep(random.below(300))
      seat.start()
      kills[victim === 2 ? 'acknowledger' : 'copiers']++
    }
  }
  return kills
}

/** Waits as long as the count rises. */
async function reaches(count: number, get: () => number | Promise<number>): Promise<void> {
  let before = -1
  for (let now = await get(); now < count; now = await get()) {
    if (now === before) throw new Error(`it is at ${now} of ${count}, and stays there`)
    before = now
    await until(async () => (await get()) > now, { everyMs: 200 }).catch(() => {})
  }
}

/** How many records the copiers have acknowledged. */
async function copiedOf(client: Client): Promise<number> {
  const { partitions } = await client.groups.describe('copiers')
  return partitions.reduce((sum, { position, hasCursor }) => sum + (hasCursor ? position : 0), 0)
}

/** How many different records are among the events. */
function givenOf(events: readonly MemberEvent[]): number {
  const given = events.filter(({ type }) => type === 'given')
  return new Set(given.map(({ partition, offset }) => `${partition}/${offset}`)).size
}

async function readAll(client: Client, topic: AnyTopic): Promise<string[][]> {
  const values: string[][] = Array.from({ length: PARTITIONS }, () => [])
  for await (const { partition, value } of client.read(topic, { from: 'earliest', to: 'end' })) {
    values[partition]?.push(String(value))
  }
  return values
}

/** Each partition of the output names the offsets of the same partition of the input, each once and in their order. */
function checkOutputs(outputs: readonly string[][], inputs: readonly string[][]): void {
  for (const [partition, output] of outputs.entries()) {
    const expected = (inputs[partition] ?? []).map((_, offset) => `${partition}/${offset}`)
    const differs = output.findIndex((value, i) => value !== expected[i])
    if (differs !== -1)
      throw new Error(
        `output ${differs} of partition ${partition} is ${output[differs]}: ${output.slice(differs - 3, differs + 3)}`,
      )
    expect(output.length).toBe(expected.length)
  }
}

/**
 * Every loop begins in a partition at the first record whose ack is not known to be durable, or further on, but not past the
 * last one that was acknowledged; from there on it is given all, in order.
 */
function checkAcks(events: readonly MemberEvent[]): void {
  const perPartition = () => Array.from({ length: PARTITIONS }, () => 0)
  const durable = perPartition()
  const asked = perPartition()
  let next: (number | undefined)[] = []
  let again = 0
  const past = perPartition()
  for (const { type, partition = 0, offset = 0 } of events) {
    const raise = (offsets: number[]): void => {
      offsets[partition] = Math.max(offsets[partition] ?? 0, offset + 1)
    }
    if (type === 'began') next = []
    else if (type === 'acking') raise(asked)
    else if (type === 'acked') raise(durable)
    else if (type === 'given') {
      const [acked = 0, last = 0] = [durable[partition], asked[partition]]
      const due = next[partition]
      if (offset < acked)
        throw new Error(`${partition}/${offset} was given again, ${acked - 1} is acknowledged`)
      if (due === undefined ? offset > last : offset !== due)
        throw new Error(`${partition}/${offset} was given, ${due ?? last} was not`)
      if (offset < (past[partition] ?? 0)) again++
      next[partition] = offset + 1
      raise(past)
    }
  }
  // Otherwise no kill met anything that was not acknowledged.
  expect(again).toBeGreaterThan(0)
}

const endsOf = (events: readonly MemberEvent[]): string[] => [
  ...new Set(events.flatMap(({ type, code }) => (type === 'ended' ? [code ?? 'none'] : []))),
]
