import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runConformanceTests } from '@durable-streams/server-conformance-tests'
import { afterAll, beforeAll, describe, vi } from 'vitest'
import { BrokerProcess } from '../support/broker-process.js'

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
})

afterAll(async () => {
  await broker.stop()
  await rm(dataDir, { recursive: true, force: true })
})

/**
 * The published suite of the Durable Streams protocol, against a broker in a process of its own. Some of its tests leave half a
 * second between being read in time and too late, which a loaded machine may take away: what is wrong fails three times.
 */
describe.concurrent('Durable Streams', { retry: 2 }, () => runConformanceTests(config))
