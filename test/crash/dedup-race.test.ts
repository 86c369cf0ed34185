import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, connect, defineTopic, type SendResult, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'

const RECORDS = process.env.MILLRACE_LONG === '1' ? 1_000_000 : 40_000
const CONNECTIONS = 8
const PARTITIONS = 4
const Work = defineTopic({ name: 'work', key: text(), value: text() })

/** Where each id went, as its two senders were told. */
interface Told {
  readonly place: number
  readonly isDuplicate: boolean
}

const placeOf = ({ partition, offset }: { partition: number; offset: number }): number =>
  offset * PARTITIONS + partition

/**
 * Two connections race with each quarter of the ids: in the same order and in different partitions, so that a record and its
 * duplicate are in flight at once, in one group or in two. They take turns in who sends first.
 */
async function race(clients: readonly Client[]): Promise<Told[][]> {
  const pairs = CONNECTIONS / 2
  const perPair = RECORDS / CONNECTIONS
  const producers = clients.map((client) => client.producer(Work))
  const told: Told[][] = clients.map(() => [])
  const send = async (i: number, { from, to }: { from: number; to: number }): Promise<void> => {
    const partition = (i + (i < pairs ? 0 : 1)) % PARTITIONS
    const records = Array.from({ length: to - from }, (_, j) => {
      const id = `${i % pairs}/${from + j}`
      return { value: id, dedupId: id, partition }
    })
    const results: readonly SendResult[] = (await producers[i]?.sendBatch(records)) ?? []
    for (const result of results) told[i]?.push({ place: placeOf(result), isDuplicate: result.duplicate })
  }
  const racePair = async (pair: number): Promise<void> => {
    const both = [pair, pair + pairs]
    for (let from = 0; from < perPair; from += 1_000) {
      await Promise.all(both.map((i) => send(i, { from, to: Math.min(from + 1_000, perPair) })))
      both.reverse()
    }
  }
  await Promise.all(Array.from({ length: pairs }, (_, pair) => racePair(pair)))
  for (const producer of producers) await producer.close()
  return told
}

async function killAgainAndAgain(broker: BrokerProcess, kills: number): Promise<void> {
  for (let n = 0; n < kills; n++) {
    await sleep(100 + 400 * Math.random())
    await broker.kill()
    await broker.start()
  }
}

test.for([
  [`of ${RECORDS} records, half of them repeated by another connection, each is stored once`, 0],
  ['the same holds when the broker is killed meanwhile', 3],
] as const)('%s', { timeout: 600_000 }, async ([, kills]) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-dedup-race-'))
  const broker = new BrokerProcess({ dataDir })
  await broker.start()
  const clients = Array.from({ length: CONNECTIONS }, () => connect(broker.url, { backoffCapMs: 100 }))
  const client = clients[0] as Client
  try {
    await client.ensureTopic(Work, { partitions: PARTITIONS, dedupWindowMs: 3_600_000 })
    const startedMs = performance.now()
    const [told] = await Promise.all([race(clients), killAgainAndAgain(broker, kills)])
    const seconds = (performance.now() - startedMs) / 1_000
    const stored = new Map<string, number>()
    for await (const record of client.read(Work, { from: 'earliest', to: 'end' })) {
      if (stored.has(record.value)) throw new Error(`${record.value} is stored twice`)
      stored.set(record.value, placeOf(record))
    }
    console.log(
      `${RECORDS} records in ${seconds.toFixed(1)} s, ${stored.size} stored: ${Math.round(RECORDS / seconds)} records/s`,
    )
    expect(stored.size).toBe(RECORDS / 2)
    const pairs = CONNECTIONS / 2
    let firstOfLater = 0
    for (let pair = 0; pair < pairs; pair++) {
      const [one = [], two = []] = [told[pair], told[pair + pairs]]
      for (const [n, first] of one.entries()) {
        const second = two[n] as Told
        const place = stored.get(`${pair}/${n}`)
        // Both are told the one place where it is, and one of them that it was not the first.
        if (first.place !== place || second.place !== place || first.isDuplicate === second.isDuplicate)
          throw new Error(`${pair}/${n} is at ${place}: ${JSON.stringify([first, second])}`)
        if (first.isDuplicate) firstOfLater++
      }
    }
    // Else it was no race.
    expect(firstOfLater).toBeGreaterThan(RECORDS / 1_000)
    expect(firstOfLater).toBeLessThan(RECORDS / 2 - RECORDS / 1_000)
  } finally {
    await Promise.all(clients.map((one) => one.close({ drainMs: 0 })))
    await broker.kill()
    await rm(dataDir, { recursive: true })
  }
})
