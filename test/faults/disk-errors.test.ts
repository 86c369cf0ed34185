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
const SEGMENT = /\/wal\/[0-9a-f]+\.wal$/
const SPARE = /\/wal\/spare/
const CHUNK = /\/chunks(\/|$)/
const SNAPSHOT = /\/snapshots(\/|$)/

type Operations = DiskFault['operations']
type Row = readonly [
  what: string,
  operation: Operations[number] | Operations,
  path: RegExp,
  code: string,
  skip?: number,
]
interface Case extends DiskFault {
  readonly what: string
}

const casesOf = (rows: readonly Row[]): readonly Case[] =>
  rows.map(([what, operation, path, code, skip = 0]) => ({
    what,
    operations: typeof operation === 'string' ? [operation] : operation,
    path,
    code,
    skip,
  }))

/** The WAL cannot be trusted any more: the broker answers everyone, and ends. */
const fatal = casesOf([
  ['a write to the WAL', 'write', SEGMENT, 'EIO'],
  ['a write to the WAL', 'write', SEGMENT, 'ENOSPC'],
  ['the rename that makes a segment', 'rename', SPARE, 'EIO'],
  ['the header of a next segment', 'write', SPARE, 'EIO', 1],
  ['the sync of the WAL directory', 'syncDirectory', /\/wal$/, 'EIO'],
  ['opening a next segment', 'open', WAL, 'EMFILE'],
  ['making the spare that is needed now', ['write', 'open'], SPARE, 'ENOSPC'],
  ['opening a next segment', 'open', WAL, 'EIO'],
])

describe('a broker whose WAL fails answers STORAGE_FAILED, ends, and keeps what it acknowledged', () => {
  test.each(someOf(fatal))('at $what ($code)', async ({ what: _, ...fault }) => {
    const broker = await startedWith(10)
    let failure: Error | undefined
    void broker.broker?.failed.then((error) => {
      failure = error
    })
    broker.disk.fail(fault)
    await broker.sendUntil(() => failure !== undefined)
    await until(() => failure !== undefined)
    expect(failure?.message).toContain(fault.code)
    const refused = [...broker.outcomes.values()].filter((outcome) => 'code' in Object(outcome))
    for (const outcome of [...refused, await broker.send()])
      expect(outcome).toMatchObject({ code: 'STORAGE_FAILED', retriable: true })
    await broker.assertRecovers()
  })
})

/** Work beside the WAL fails: a warning, a later try, and nothing that a client notices. */
const harmless = [
  ...casesOf([
    ['making a chunk', 'open', CHUNK, 'EMFILE'],
    ['a write to a chunk', 'write', CHUNK, 'ENOSPC'],
    ['a write to a chunk', 'write', CHUNK, 'EIO'],
    ['the sync of a chunk', 'sync', CHUNK, 'EIO'],
    ['the sync of the chunk directory', 'syncDirectory', CHUNK, 'EIO'],
    ['a read of the WAL for a chunk', 'read', WAL, 'EIO'],
  ]).map((fault) => ({ ...fault, warning: 'sealing a chunk failed' })),
  ...casesOf([
    ['making a snapshot', 'open', SNAPSHOT, 'EMFILE'],
    ['a write to a snapshot', 'write', SNAPSHOT, 'ENOSPC'],
    ['the sync of a snapshot', 'sync', SNAPSHOT, 'EIO'],
    ['the rename of a snapshot', 'rename', SNAPSHOT, 'EIO'],
  ]).map((fault) => ({ ...fault, warning: 'checkpoint failed' })),
]

describe('a broker goes on, says what failed, and makes up for it when the cause is gone', () => {
  test.each(someOf(harmless))('at $what ($code)', async ({ what: _, warning, ...fault }) => {
    const broker = await startedWith(5)
    const isWarned = () => broker.logged.some((line) => line.includes(warning) && line.includes(fault.code))
    broker.disk.fail(fault)
    await broker.sendUntil(isWarned, 600)
    await until(isWarned)
    broker.disk.mend()
    const sealedBefore = broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0
    for (let i = 0; i < 20; i++) expect(await broker.send()).toHaveProperty('offset')
    await until(() => (broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0) > sealedBefore)
    await broker.assertKept()
    await broker.assertRecovers()
  })
})

describe('a read that fails is answered, and succeeds when the cause is gone', () => {
  const reads = casesOf([
    ['reading a chunk', 'read', CHUNK, 'EIO'],
    ['opening a chunk', 'open', CHUNK, 'EMFILE'],
  ])
  test.each(someOf(reads))('at $what ($code)', async ({ what: _, ...fault }) => {
    const broker = await startedWith(40)
    await until(() => (broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0) > 3)
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
const atStart = casesOf([
  ['reading the WAL', 'read', WAL, 'EIO'],
  ['opening the WAL', 'open', WAL, 'EMFILE'],
  ['listing the WAL', 'list', WAL, 'EIO'],
  ['listing the WAL', 'list', /\/wal$/, 'EIO'],
  ['reading the identity', 'readFile', /identity/, 'EIO'],
  ['removing the clean-stop marker', 'remove', /clean-stop/, 'EROFS'],
  ['looking for chunks', 'list', CHUNK, 'EIO'],
  ['making the data directory', 'makeDirectory', /./, 'EROFS'],
])

describe('a start that the disk does not let refuses with the error of the disk, and the next one finds all', () => {
  test.each(someOf(atStart))('at $what ($code)', async ({ what: _, ...fault }) => {
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
