import { afterEach, describe, expect, test } from 'vitest'
import type { MillraceError } from '../../protocol/error-codes.js'
import { until } from '../support/until.js'
import { FaultedBroker } from './faulted-broker.js'
import type { DiskFault } from './faulty-disk.js'
import { someOf } from './some-of.js'

let faulted: FaultedBroker | undefined

afterEach(async () => {
  await faulted?.end()
  faulted = undefined
})

async function startedWith(records: number): Promise<FaultedBroker> {
  faulted = await FaultedBroker.start()
  for (let i = 0; i < records; i++) await faulted.send()
  return faulted
}

const WAL = /\/wal\//
const CHUNK = /\/chunks(\/|$)/
const SNAPSHOT = /\/snapshots(\/|$)/

/** The WAL cannot be trusted any more: the broker answers everyone, and ends. */
const fatal: readonly (DiskFault & { readonly what: string })[] = [
  { what: 'a write to the WAL', operations: ['write'], path: /\/wal\/[0-9a-f]+\.wal$/, code: 'EIO' },
  { what: 'a write to the WAL', operations: ['write'], path: /\/wal\/[0-9a-f]+\.wal$/, code: 'ENOSPC' },
  { what: 'the rename that makes a segment', operations: ['rename'], path: /\/wal\/spare/, code: 'EIO' },
  { what: 'the header of a next segment', operations: ['write'], path: /\/wal\/spare/, code: 'EIO', skip: 1 },
  { what: 'the sync of the WAL directory', operations: ['syncDirectory'], path: /\/wal$/, code: 'EIO' },
  { what: 'opening a next segment', operations: ['open'], path: WAL, code: 'EMFILE' },
  {
    what: 'making the spare that is needed now',
    operations: ['write', 'open'],
    path: /\/wal\/spare/,
    code: 'ENOSPC',
  },
  { what: 'opening a next segment', operations: ['open'], path: WAL, code: 'EIO' },
]

describe('a broker whose WAL fails answers STORAGE_FAILED, ends, and keeps what it acknowledged', () => {
  test.each(someOf(fatal))('at $what ($code)', { timeout: 60_000 }, async ({ what: _, ...fault }) => {
    const broker = await startedWith(10)
    let failure: Error | undefined
    void broker.broker?.failed.then((error) => {
      failure = error
    })
    broker.disk.fail(fault)
    await broker.sendUntil(() => failure !== undefined)
    await until(() => failure !== undefined, { timeoutMs: 5_000 })
    expect(failure?.message).toContain(fault.code)
    const refused = [...broker.outcomes.values()].filter((outcome) => 'code' in Object(outcome))
    for (const outcome of [...refused, await broker.send()])
      expect(outcome).toMatchObject({ code: 'STORAGE_FAILED', retriable: true })
    await broker.assertRecovers()
  })
})

/** Work beside the WAL fails: a warning, a later try, and nothing that a client notices. */
const harmless: readonly (DiskFault & { readonly what: string; readonly warning: RegExp })[] = [
  {
    what: 'making a chunk',
    operations: ['open'],
    path: CHUNK,
    code: 'EMFILE',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'a write to a chunk',
    operations: ['write'],
    path: CHUNK,
    code: 'ENOSPC',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'a write to a chunk',
    operations: ['write'],
    path: CHUNK,
    code: 'EIO',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'the sync of a chunk',
    operations: ['sync'],
    path: CHUNK,
    code: 'EIO',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'the sync of the chunk directory',
    operations: ['syncDirectory'],
    path: CHUNK,
    code: 'EIO',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'a read of the WAL for a chunk',
    operations: ['read'],
    path: WAL,
    code: 'EIO',
    warning: /sealing a chunk failed/,
  },
  {
    what: 'making a snapshot',
    operations: ['open'],
    path: SNAPSHOT,
    code: 'EMFILE',
    warning: /checkpoint failed/,
  },
  {
    what: 'a write to a snapshot',
    operations: ['write'],
    path: SNAPSHOT,
    code: 'ENOSPC',
    warning: /checkpoint failed/,
  },
  {
    what: 'the sync of a snapshot',
    operations: ['sync'],
    path: SNAPSHOT,
    code: 'EIO',
    warning: /checkpoint failed/,
  },
  {
    what: 'the rename of a snapshot',
    operations: ['rename'],
    path: SNAPSHOT,
    code: 'EIO',
    warning: /checkpoint failed/,
  },
]

describe('a broker goes on, says what failed, and makes up for it when the cause is gone', () => {
  test.each(someOf(harmless))(
    'at $what ($code)',
    { timeout: 60_000 },
    async ({ what: _, warning, ...fault }) => {
      const broker = await startedWith(5)
      const isWarned = () => broker.logged.some((line) => warning.test(line) && line.includes(fault.code))
      broker.disk.fail(fault)
      await broker.sendUntil(isWarned, 600)
      expect(isWarned()).toBe(true)
      broker.disk.mend()
      const sealedBefore = broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0
      for (let i = 0; i < 20; i++) expect(await broker.send()).toHaveProperty('offset')
      await until(() => (broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0) > sealedBefore, {
        timeoutMs: 15_000,
      })
      await broker.assertKept()
      await broker.assertRecovers()
    },
  )
})

describe('a read that fails is answered, and succeeds when the cause is gone', () => {
  const reads: readonly (DiskFault & { readonly what: string })[] = [
    { what: 'reading a chunk', operations: ['read'], path: CHUNK, code: 'EIO' },
    { what: 'opening a chunk', operations: ['open'], path: CHUNK, code: 'EMFILE' },
  ]
  test.each(someOf(reads))('at $what ($code)', { timeout: 60_000 }, async ({ what: _, ...fault }) => {
    const broker = await startedWith(40)
    await until(() => (broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0) > 3, {
      timeoutMs: 15_000,
    })
    await broker.stop()
    await broker.start()
    broker.disk.fail(fault)
    const read = await broker.read(0)
    const message = expect.stringContaining(`reading from disk failed: `)
    expect(read).toMatchObject({ code: 'STORAGE_FAILED', message, retriable: true, outcome: 0 })
    expect(await broker.send()).toHaveProperty('offset')
    broker.disk.mend()
    await broker.assertKept()
  })
})

/** Files that a start needs: it refuses, in words, and the next one finds everything. */
const atStart: readonly (DiskFault & { readonly what: string })[] = [
  { what: 'reading the WAL', operations: ['read'], path: WAL, code: 'EIO' },
  { what: 'opening the WAL', operations: ['open'], path: WAL, code: 'EMFILE' },
  { what: 'listing the WAL', operations: ['list'], path: WAL, code: 'EIO' },
  { what: 'listing the WAL', operations: ['list'], path: /\/wal$/, code: 'EIO' },
  { what: 'reading the identity', operations: ['readFile'], path: /identity/, code: 'EIO' },
  { what: 'removing the clean-stop marker', operations: ['remove'], path: /clean-stop/, code: 'EROFS' },
  { what: 'looking for chunks', operations: ['list'], path: CHUNK, code: 'EIO' },
  { what: 'making the data directory', operations: ['makeDirectory'], path: /./, code: 'EROFS' },
]

describe('a start that the disk does not let refuses with the error of the disk, and the next one finds all', () => {
  test.each(someOf(atStart))('at $what ($code)', { timeout: 60_000 }, async ({ what: _, ...fault }) => {
    const broker = await startedWith(30)
    await broker.stop()
    broker.disk.fail(fault)
    const refusal = await broker.start().then(
      () => undefined,
      (error: MillraceError) => error,
    )
    // A start need not touch all files of a kind.
    if (broker.disk.failures === 0) return
    expect(refusal).toMatchObject({ code: fault.code, message: expect.stringContaining(fault.code) })
    await broker.assertRecovers()
  })
})
