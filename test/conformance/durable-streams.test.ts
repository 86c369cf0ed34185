import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { afterAll, beforeAll, describe, expect, it, type RunnerTestSuite, vi } from 'vitest'
import { BrokerProcess } from '../support/broker-process.js'
import { until } from '../support/until.js'
import { askStream, asProducer } from './stream-http.js'

const config = { baseUrl: '', longPollTimeoutMs: 1_000, subscriptions: false }

// Nearly all of it waits: for a time to live to end, for a poll to be answered.
vi.setConfig({ maxConcurrency: 8 })

let dataDir: string
let broker: BrokerProcess

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-conformance-'))
  broker = new BrokerProcess({
    dataDir,
    flags: { 'stream-poll-ms': '1s', 'allowed-origins': '*' },
  })
  await broker.start()
  config.baseUrl = broker.url.replace('ws:', 'http:')
  await killed()
}, 300_000)

/** What the suite asks has recovered from a SIGKILL in the middle of a producer's load. */
async function killed(): Promise<void> {
  const url = `${config.baseUrl}/v1/stream/before-the-kill`
  const headers = { 'content-type': 'application/json' }
  await askStream(url, 'PUT', { headers })
  let acknowledged = 0
  const load = (async () => {
    for (;;) {
      const own = { ...headers, ...asProducer('p', { epoch: 0, seq: acknowledged }) }
      const answer = await askStream(url, 'POST', { headers: own, body: `${acknowledged}` }).catch(
        () => undefined,
      )
      if (answer === undefined) return
      expect(answer.status).toBe(200)
      acknowledged++
    }
  })()
  await until(() => acknowledged > 50)
  await broker.kill()
  await load
  await broker.start()
  const { text } = await askStream(url, 'GET')
  const values = JSON.parse(text) as number[]
  // The write that the kill cut off may be there.
  expect(values.length - acknowledged).toBeOneOf([0, 1])
  expect(values).toEqual(values.map((_, index) => index))
}

afterAll(async () => {
  await broker.stop()
  await rm(dataDir, { recursive: true, force: true })
})

/**
 * The published suite of the Durable Streams protocol as it is, against a broker in a process of its own, which was killed before.
 * Some of its tests leave half a second between being read in time and too late, which a busy machine takes away: what is wrong
 * fails every time.
 */
describe.concurrent('Durable Streams', { retry: 4 }, () => runConformanceTests(config))

it('the suite is run whole: all 332 tests that are required, and only the 6 about subscriptions are skipped', ({
  task,
}) => {
  const modes = modesIn(task.file.tasks.filter((each) => each !== task))
  expect(modes.sort()).toEqual([...Array(332).fill('run'), ...Array(6).fill('skip')])
})

const modesIn = (tasks: RunnerTestSuite['tasks']): string[] =>
  tasks.flatMap((task) => (task.type === 'suite' ? modesIn(task.tasks) : [task.mode]))
