import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Broker, startBroker } from '../../../broker/broker.js'
import { FLAVOURS, type Flavour } from '../../../load/k6/bundle.js'
import { unpackFrame } from '../../../protocol/frame.js'
import { deliver, produced, queueDeliver, queueSettled } from '../../../protocol/messages/index.js'
import { type FakeRun, runInFakeK6, type Tamper } from '../../support/fake-k6.js'
import { until } from '../../support/until.js'

let broker: Broker
let dataDir: string
const [stable] = FLAVOURS as [Flavour]
let topics = 0

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'millrace-k6-'))
  broker = await startBroker({ dataDir, port: 0, logLevel: 'silent' })
  await runUntil(isProduced, 'produce', HISTORY)
})

afterAll(async () => {
  await broker?.close()
  await rm(dataDir, { recursive: true, force: true })
})

const AS_FAST_AS_ACKS_COME = { MILLRACE_RATE: '0', MILLRACE_PRODUCERS: '2', MILLRACE_IN_FLIGHT: '2' }

const FAILING_JOBS = { MILLRACE_FAIL_EVERY: '20' }

/** A topic that has records before a test begins: a work queue has jobs at once, however busy the machine is. */
const HISTORY = { MILLRACE_TOPIC: 'history' }

/** A short run on a topic and a group of its own. */
function run(
  scenario: string,
  environment: Readonly<Record<string, string>> = {},
  more: { flavour?: Flavour; tamper?: Tamper } = {},
): Promise<FakeRun> {
  const name = `t${++topics}`
  return runInFakeK6({
    scenario,
    flavour: more.flavour ?? stable,
    environment: {
      MILLRACE_URL: broker.url,
      MILLRACE_DURATION: '600ms',
      // So that it does not matter who is ready first.
      MILLRACE_FROM: 'earliest',
      MILLRACE_TOPIC: name,
      MILLRACE_GROUP: name,
      MILLRACE_PARTITIONS: '2',
      // All of this shares one process with the broker; a busy machine is not what these tests are about.
      MILLRACE_RATE: '400',
      MILLRACE_ACK_P99_MS: '60000',
      MILLRACE_END_TO_END_P99_MS: '60000',
      MILLRACE_CONNECT_P99_MS: '60000',
      ...environment,
    },
    ...(more.tamper === undefined ? {} : { tamper: more.tamper }),
  })
}

/**
 * A busy machine may not come far enough in a short run: then it is given a longer one, until something is wrong or the last was
 * long enough for any.
 */
async function runUntil(
  isEnough: (result: FakeRun) => boolean,
  scenario: string,
  environment: Readonly<Record<string, string>> = {},
  { flavour, tamper }: { flavour?: Flavour; tamper?: () => Tamper } = {},
): Promise<FakeRun> {
  for (let ms = 600; ; ms *= 3) {
    const result = await run(
      scenario,
      { ...environment, MILLRACE_DURATION: `${ms}ms` },
      { ...(flavour && { flavour }), ...(tamper && { tamper: tamper() }) },
    )
    if (isEnough(result) || isWrong(result) || ms > 10_000) return result
  }
}

const sum = (result: FakeRun, metric: string): number =>
  (result.samples.get(metric) ?? []).reduce((total, value) => total + value, 0)

const isProduced = (result: FakeRun): boolean => sum(result, 'millrace_records_produced') > 0
const isTimed = ({ samples }: FakeRun): boolean => samples.has('millrace_end_to_end_ms')
const isWrong = (result: FakeRun): boolean => sum(result, 'millrace_errors') > 0

function expectNothingWrong(result: FakeRun): void {
  expect(result.complaints).toEqual([])
  expect(result.failedThresholds).toEqual([])
  expect(sum(result, 'millrace_errors')).toBe(0)
}

/** Does something to one frame of a kind: the one with this index. */
function once(
  message: { opcode: number },
  index: number,
  change: (frame: Uint8Array) => Uint8Array[],
): Tamper {
  let seen = 0
  return (frame) => {
    if (unpackFrame(frame)[0] !== message.opcode || seen++ !== index) return [frame]
    return change(frame)
  }
}

describe.concurrent('the bundled scenarios, against a real broker', () => {
  for (const flavour of FLAVOURS) {
    it(`mix producers, readers and workers in the flavour "${flavour.name}"`, async () => {
      const isMixed = (result: FakeRun): boolean =>
        // Two readers have each record.
        sum(result, 'millrace_records_consumed') > sum(result, 'millrace_records_produced') &&
        sum(result, 'millrace_jobs_done') > 0 &&
        sum(result, 'millrace_redeliveries') > 0
      const startedMs = performance.now()
      const result = await runUntil(isMixed, 'mixed', { ...HISTORY, ...FAILING_JOBS }, { flavour })
      expectNothingWrong(result)
      expect(isMixed(result)).toBe(true)
      const tookMs = performance.now() - startedMs
      for (const metric of ['millrace_ack_ms', 'millrace_end_to_end_ms', 'millrace_settle_ms']) {
        expect(Math.max(...(result.samples.get(metric) ?? [Number.NaN])), metric).toBeLessThan(tookMs)
      }
    })
  }

  it('produce as fast as acks come', async () => {
    const result = await runUntil(isProduced, 'produce', AS_FAST_AS_ACKS_COME)
    expectNothingWrong(result)
    expect(result.samples.get('millrace_ack_ms')?.length).toBe(sum(result, 'millrace_records_produced') / 100)
  })

  it('follow the end of the log', async () => {
    const result = await runUntil(isTimed, 'tail')
    expectNothingWrong(result)
    expect(isTimed(result)).toBe(true)
  })

  it('read from the beginning what was there before, without timing it', async () => {
    const topic = { MILLRACE_TOPIC: 'what-was-before' }
    const before = await runUntil(isProduced, 'produce', topic)
    const isAll = (result: FakeRun): boolean =>
      sum(result, 'millrace_records_consumed') === sum(before, 'millrace_records_produced')
    const result = await runUntil(isAll, 'tail', { ...topic, MILLRACE_PRODUCERS: '0' })
    expectNothingWrong(result)
    expect(isAll(result)).toBe(true)
    expect(isTimed(result)).toBe(false)
  })

  it('fan one partition out', async () => {
    const isFanned = (result: FakeRun): boolean =>
      sum(result, 'millrace_records_consumed') > 2 * sum(result, 'millrace_records_produced')
    const result = await runUntil(isFanned, 'fan-out', { MILLRACE_READERS: '10', MILLRACE_PARTITIONS: '1' })
    expectNothingWrong(result)
    expect(isFanned(result)).toBe(true)
  })

  it('soak, and check payloads', async () => {
    const isWhole = ({ failedThresholds }: FakeRun): boolean => failedThresholds.length === 0
    expectNothingWrong(await runUntil(isWhole, 'soak', { ...HISTORY, MILLRACE_FAIL_EVERY: '0' }))
  })

  it('storm connections', async () => {
    const result = await run('connection-storm', { MILLRACE_CONNECTIONS: '20', MILLRACE_HOLD: '20ms' })
    expectNothingWrong(result)
    expect(result.samples.get('millrace_connect_ms')?.length).toBeGreaterThanOrEqual(20)
  })
})

describe.concurrent('a run fails', () => {
  const failed = 'millrace_errors: count==0'
  const tail = { MILLRACE_PARTITIONS: '1' }

  it('when a batch never reaches a reader', async () => {
    const lose = () => once(deliver, 1, () => [])
    const result = await runUntil(isWrong, 'tail', tail, { tamper: lose })
    expect(result.failedThresholds).toEqual([failed])
    expect(result.complaints[0]).toMatch(/^gap: t\d+\/0: expected offset \d+, got \d+$/)
  })

  it('when a batch reaches a reader twice', async () => {
    const repeat = () => once(deliver, 1, (frame) => [frame, frame])
    const result = await runUntil(isWrong, 'tail', tail, { tamper: repeat })
    expect(result.failedThresholds).toEqual([failed])
    expect(result.complaints[0]).toMatch(/^repeat: t\d+\/0: expected offset \d+, got \d+ again$/)
  })

  it('when a payload is damaged and payloads are checked', async () => {
    const damage = () =>
      once(deliver, 1, (frame) => {
        const damaged = Uint8Array.from(frame)
        damaged[damaged.length - 5] = damaged[damaged.length - 5]! ^ 1
        return [damaged]
      })
    const checked = { ...tail, MILLRACE_VERIFY: 'payloads' }
    const result = await runUntil(isWrong, 'tail', checked, { tamper: damage })
    expect(result.failedThresholds).toEqual([failed])
    expect(result.complaints[0]).toMatch(/^corrupt: the CRC of a payload/)
  })

  it('when an ack comes twice', async () => {
    const repeat = () => once(produced, 1, (frame) => [frame, frame])
    const result = await runUntil(isWrong, 'produce', AS_FAST_AS_ACKS_COME, { tamper: repeat })
    expect(result.failedThresholds).toEqual([failed])
    expect(result.complaints[0]).toMatch(/^corrupt: an ack of \d+, which nobody waits for$/)
  })

  it('when a job comes again after it was done', async () => {
    const again = (): Tamper => {
      let first: Uint8Array | undefined
      let isSettled = false
      return (frame) => {
        const [opcode] = unpackFrame(frame)
        if (opcode === queueDeliver.opcode) first ??= Uint8Array.from(frame)
        if (opcode !== queueSettled.opcode || first === undefined || isSettled) return [frame]
        isSettled = true
        return [frame, first]
      }
    }
    const environment = { ...HISTORY, MILLRACE_FAIL_EVERY: '0', MILLRACE_WORKERS: '1' }
    const result = await runUntil(isWrong, 'mixed', environment, { tamper: again })
    expect(result.failedThresholds).toContain(failed)
    expect(result.complaints.some((text) => /^repeat: job \d@\d+ was done, and came again$/.test(text))).toBe(
      true,
    )
  })

  it('when nobody listens', async () => {
    const result = await run('produce', { MILLRACE_URL: 'ws://127.0.0.1:1' })
    expect(result.failedThresholds).toEqual([failed, 'millrace_records_produced: count>0'])
    expect(result.complaints[0]).toMatch(/^connection: lost: .*ECONNREFUSED/)
  })

  it('when a connection is lost on the way', async () => {
    const own = await mkdtemp(join(tmpdir(), 'millrace-k6-'))
    const other = await startBroker({ dataDir: own, port: 0, logLevel: 'silent' })
    try {
      let acks = 0
      const count: Tamper = (frame) => {
        if (unpackFrame(frame)[0] === produced.opcode) acks++
        return [frame]
      }
      const environment = { MILLRACE_URL: other.url, MILLRACE_DURATION: '20s' }
      const under = run('produce', environment, { tamper: count })
      await until(() => acks > 0)
      await other.close()
      const result = await under
      expect(result.failedThresholds).toEqual([failed])
      expect(result.complaints.join('\n')).toContain('connection: ')
    } finally {
      await other.close()
      await rm(own, { recursive: true, force: true })
    }
  })

  it('when latencies are above their bounds', async () => {
    const slow: Tamper = (frame) => {
      const until = performance.now() + (unpackFrame(frame)[0] === deliver.opcode ? 20 : 0)
      while (performance.now() < until);
      return [frame]
    }
    const bounds = { MILLRACE_END_TO_END_P99_MS: '5', MILLRACE_RATE: '200' }
    const result = await runUntil(isTimed, 'tail', bounds, { tamper: () => slow })
    expect(result.failedThresholds).toEqual(['millrace_end_to_end_ms: p(99)<=5'])
  })
})
