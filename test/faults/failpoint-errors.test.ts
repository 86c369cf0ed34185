import { afterEach, describe, expect, test } from 'vitest'
import { DiskError } from '../../broker/platform/disk.js'
import type { FailpointName } from '../../broker/platform/failpoints.js'
import { until } from '../support/until.js'
import { FaultedBroker } from './faulted-broker.js'
import { someOf } from './some-of.js'

let faulted: FaultedBroker | undefined

afterEach(async () => {
  await faulted?.end()
  faulted = undefined
})

interface Failing {
  readonly broker: FaultedBroker
  readonly failure: () => Error | undefined
  /** From now on the failpoint does nothing. */
  readonly mend: () => void
}

/** A broker that has met an I/O error at a failpoint, at least once. */
async function failingAt(name: FailpointName): Promise<Failing> {
  const broker = await FaultedBroker.start()
  faulted = broker
  for (let i = 0; i < 5; i++) await broker.send()
  let failure: Error | undefined
  void broker.broker?.failed.then((error) => {
    failure = error
  })
  let isMended = false
  const fail = (): void => {
    if (!isMended) throw new DiskError({ code: 'EIO', path: name, operation: 'failpoint' })
  }
  broker.failpoints.arm(name, fail, { andAfter: true })
  const before = broker.failpoints.hits(name)
  await broker.sendUntil(() => broker.failpoints.hits(name) > before, 400)
  // It may come to it a moment after the last record.
  await until(() => broker.failpoints.hits(name) > before)
  const mend = (): void => {
    isMended = true
  }
  return { broker, failure: () => failure, mend }
}

describe('an I/O error ends the broker, and nothing that it acknowledged is lost', () => {
  const names: readonly FailpointName[] = [
    'walBeforeWrite',
    'walAfterWrite',
    'walBeforeRoll',
    'walAfterRollHeader',
    'manifestBeforeFlush',
    'manifestAfterFlush',
  ]
  test.each(someOf(names))('at %s', async (name) => {
    const { broker, failure } = await failingAt(name)
    await until(() => failure() !== undefined)
    expect(failure()?.message).toContain('EIO')
    expect(await broker.send()).toMatchObject({ code: 'STORAGE_FAILED', retriable: true, outcome: 0 })
    await broker.assertRecovers()
  })
})

describe('an I/O error is a warning, and the work is done later', () => {
  const names: readonly FailpointName[] = [
    'chunkAfterWrite',
    'chunkBeforeDirectorySync',
    'sealBeforeCommit',
    'snapshotBeforeRename',
    'trimBeforeRecycle',
  ]
  test.each(someOf(names))('at %s', async (name) => {
    const { broker, failure, mend } = await failingAt(name)
    await until(() => broker.logged.some((line) => line.includes('tried again') && line.includes('EIO')))
    expect(failure()).toBeUndefined()
    mend()
    for (let i = 0; i < 10; i++) expect(await broker.send()).toHaveProperty('offset')
    await broker.assertKept()
    await broker.assertRecovers()
  })
})

test('while no chunk can be made the WAL grows to its cap, then records are refused, and taken when it can', {
  timeout: 300_000,
}, async () => {
  const { broker, failure, mend } = await failingAt('chunkAfterWrite')
  // 4 KB each: more than the WAL may hold.
  await broker.sendUntil(() => false, 900)
  const last = [...broker.outcomes.values()].at(-1)
  expect(last).not.toHaveProperty('offset')
  expect(broker.broker?.metrics.snapshot().gauges.walTotalBytes).toBeLessThanOrEqual(broker.walBytesMax)
  expect(failure()).toBeUndefined()
  expect(await broker.read(0)).toHaveProperty('values')
  mend()
  await until(async () => 'offset' in Object(await broker.send()), { everyMs: 100 })
  await broker.assertRecovers()
})
