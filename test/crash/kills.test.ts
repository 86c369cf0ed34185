import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../client/index.js'
import { checkHistory } from '../checker/check.js'
import type { Seen } from '../checker/history.js'
import { HistoryRecorder } from '../checker/recorder.js'
import { nameOf, payloadOf } from '../sim/workload/payload.js'
import { BrokerProcess } from '../support/broker-process.js'
import { until } from '../support/until.js'

const isLong = process.env.MILLRACE_LONG === '1'
const endings = [
  { how: 'kill', signal: 'SIGKILL', seconds: isLong ? 30 : 4 },
  { how: 'stop', signal: 'SIGTERM', seconds: isLong ? 15 : 2 },
] as const
/** Also where everything is slow. */
const ENDINGS_MIN = 3
const ACKNOWLEDGED_MIN = isLong ? 1_000 : 300
const PRODUCERS = 10
const READERS = 10
const PARTITIONS = 8
/** Sends that a producer has unanswered: retries then carry several batches, and their order matters. */
const UNANSWERED = 20
const Work = defineTopic({ name: 'work', key: text(), value: text() })

/** Sends numbered values until told to stop; the number counts per partition. Returns how many were acknowledged. */
async function produce(
  client: Client,
  { name, history, isOver }: { name: string; history: HistoryRecorder; isOver: () => boolean },
): Promise<number> {
  const producer = client.producer(Work, { deliveryTimeoutMs: 120_000 })
  let acknowledged = 0
  const open = new Set<Promise<void>>()
  for (let n = 0; !isOver(); n++) {
    const partition = n % PARTITIONS
    const value = `${name}/${n}`
    const op = history.op()
    const records = [{ topicId: Work.name, partition, value }]
    history.record({ type: 'write', op, process: name, stream: name, records })
    const payload = payloadOf(value, n % 7 === 0 ? 3_000 : 50)
    const sent: Promise<void> = producer.send({ key: null, value: payload, partition }).then(({ offset }) => {
      history.record({ type: 'written', op, places: [{ partition, offset }] })
      acknowledged++
      open.delete(sent)
    })
    open.add(sent)
    if (open.size >= UNANSWERED) await Promise.race(open)
  }
  await Promise.all(open)
  await producer.close()
  return acknowledged
}

interface Following {
  readonly reader: string
  readonly history: HistoryRecorder
  readonly signal: AbortSignal
  readonly onSeen: (records: number) => void
}

/** Follows all partitions from their start, until it is stopped. */
async function follow(client: Client, { reader, history, signal, onSeen }: Following): Promise<void> {
  const next = Array.from({ length: PARTITIONS }, () => 0)
  try {
    for await (const { partition, records, nextOffset } of client.readBatches(Work, {
      from: 'earliest',
      signal,
    })) {
      const seen = records.map(({ offset, value }): Seen => [offset, nameOf(value)])
      const from = next[partition] ?? 0
      history.record({
        type: 'read',
        reader,
        topicId: Work.name,
        partition,
        from,
        next: nextOffset,
        records: seen,
      })
      next[partition] = nextOffset
      onSeen(records.length)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

test.each(endings)(
  'ten producers and ten readers lose, repeat and reorder nothing through $seconds s of $signal',
  {
    timeout: 600_000,
  },
  async ({ how, seconds }) => {
    const dataDir = await mkdtemp(join(tmpdir(), 'millrace-kills-'))
    // Small, so that segments roll and chunks seal between the kills.
    const broker = new BrokerProcess({
      dataDir,
      flags: {
        'wal-segment-bytes': '8MiB',
        'wal-bytes-max': '128MiB',
        'chunk-bytes': '256KiB',
        // A stop comes to its end on a slow machine too.
        'drain-ms': '2m',
      },
    })
    await broker.start()
    const open = (): Client => connect(broker.url, { requestTimeoutMs: 240_000, backoffCapMs: 300 })
    const clients = Array.from({ length: PRODUCERS + READERS }, open)
    const history = new HistoryRecorder()
    history.record({ type: 'topic', topicId: Work.name, name: Work.name, partitions: PARTITIONS })
    try {
      await (clients[0] as Client).ensureTopic(Work, { partitions: PARTITIONS })
      let isOver = false
      const reading = new AbortController()
      const producers = clients
        .slice(0, PRODUCERS)
        .map((client, i) => produce(client, { name: `p${i}`, history, isOver: () => isOver }))
      const { signal } = reading
      const seen = Array.from({ length: READERS }, () => 0)
      const readers = clients.slice(PRODUCERS).map((client, i) => {
        const onSeen = (records: number): void => {
          seen[i] = (seen[i] ?? 0) + records
        }
        return follow(client, { reader: `r${i}`, history, signal, onSeen })
      })
      const watched = Promise.all([...producers, ...readers])
      const ended = await Promise.race([
        endAgainAndAgain(broker, { how, seconds, dataDir, history }),
        watched.then(() => -1),
      ])
      isOver = true
      const acknowledged = (await Promise.all(producers)).reduce((sum, count) => sum + count)
      const stored = await readAll(clients[0] as Client, history)
      // Readers that had not reached the end when they were stopped would prove little.
      await Promise.race([until(() => seen.every((count) => count >= stored)), watched])
      reading.abort()
      await Promise.all(readers)
      console.log(
        `${ended} times ${how}, acknowledged ${acknowledged}, stored ${stored}, seen by each reader ${Math.min(...seen)} to ${Math.max(...seen)}`,
      )
      expect(ended).toBeGreaterThanOrEqual(ENDINGS_MIN)
      expect(acknowledged).toBeGreaterThanOrEqual(ACKNOWLEDGED_MIN)
      expect(checkHistory(history.events)).toEqual([])
      // Every send was answered, so there is nothing else in the log.
      expect(stored).toBe(acknowledged)
      for (const count of seen) expect(count).toBe(stored)
    } finally {
      await Promise.all(clients.map((client) => client.close({ drainMs: 0 })))
      await broker.kill()
      await rm(dataDir, { recursive: true })
    }
  },
)

async function endAgainAndAgain(
  broker: BrokerProcess,
  {
    how,
    seconds,
    dataDir,
    history,
  }: { how: 'kill' | 'stop'; seconds: number; dataDir: string; history: HistoryRecorder },
): Promise<number> {
  const untilMs = performance.now() + seconds * 1000
  const written = (): number => history.events.filter(({ type }) => type === 'written').length
  let times = 0
  while (performance.now() < untilMs || times < ENDINGS_MIN || written() < ACKNOWLEDGED_MIN) {
    const before = written()
    await sleep(600 + Math.random() * 900)
    // Where all is slow, a broker that is ended before anybody has got anywhere leaves them waiting for ever.
    await until(() => written() > before, { timeoutMs: 200_000, everyMs: 50 })
    if (how === 'stop') {
      expect(await broker.stop()).toBe(0)
      expect(await readdir(dataDir)).toContain('clean-stop.json')
    } else await broker.kill()
    history.record({ type: 'brokerDown', how })
    times++
    await sleep(Math.random() * 200)
    await broker.start()
    history.record({ type: 'brokerUp' })
  }
  return times
}

/** The last word on the log; returns how many records it holds. */
async function readAll(client: Client, history: HistoryRecorder): Promise<number> {
  const { partitions } = await client.describeTopic(Work)
  const records = partitions.map((): Seen[] => [])
  for await (const { partition, offset, value } of client.read(Work, { from: 'earliest', to: 'end' })) {
    records[partition]?.push([offset, nameOf(value)])
  }
  for (const { partition, startOffset, endOffset } of partitions) {
    const seen = records[partition] ?? []
    history.record({ type: 'log', topicId: Work.name, partition, startOffset, endOffset, records: seen })
  }
  return records.flat().length
}
