import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { verifyDirectory } from '../../broker/offline/verify.js'
import { nodeDisk } from '../../broker/platform/node-disk.js'
import type { MillraceError } from '../../protocol/error-codes.js'
import { until } from '../support/until.js'
import { FaultedBroker } from './faulted-broker.js'
import { someOf } from './some-of.js'

let faulted: FaultedBroker | undefined

afterEach(async () => {
  await faulted?.end()
  faulted = undefined
})

interface Damage {
  readonly what: string
  /** In the data directory; the first that matches, or the last. */
  readonly file: RegExp
  readonly isLast?: boolean
  readonly how: 'missing' | 'cut' | 'empty'
  /** What a start says; undefined: it starts. */
  readonly says: RegExp | undefined
}

const damages: readonly Damage[] = [
  {
    what: 'the identity',
    file: /^identity\.json$/,
    how: 'missing',
    says: /identity\.json: the file is missing/,
  },
  { what: 'the identity', file: /^identity\.json$/, how: 'cut', says: /identity\.json: it is not readable/ },
  { what: 'the clean-stop marker', file: /^clean-stop/, how: 'missing', says: undefined },
  {
    what: 'the clean-stop marker',
    file: /^clean-stop/,
    how: 'cut',
    says: /clean-stop\.json: it is not readable/,
  },
  {
    what: 'the oldest WAL segment',
    file: /^wal\/0/,
    how: 'cut',
    says: /\.wal at byte \d+: the file has \d+ bytes, and its header says/,
  },
  {
    what: 'the newest WAL segment',
    file: /^wal\/0/,
    isLast: true,
    how: 'missing',
    says: /\.wal|the WAL ends/,
  },
  {
    what: 'the newest WAL segment',
    file: /^wal\/0/,
    isLast: true,
    how: 'cut',
    says: /\.wal at byte \d+: the file has \d+ bytes/,
  },
  {
    what: 'the newest WAL segment',
    file: /^wal\/0/,
    isLast: true,
    how: 'empty',
    says: /\.wal at byte 0: the segment header is cut short/,
  },
  {
    what: 'a chunk',
    file: /^chunks\//,
    how: 'missing',
    says: /\.chunk: the file is missing, and records are in it/,
  },
  { what: 'the manifest', file: /^manifest\/data\.mdb$/, how: 'missing', says: /./ },
  { what: 'the manifest', file: /^manifest\/data\.mdb$/, how: 'cut', says: /manifest/ },
  { what: 'the newest snapshot', file: /^snapshots\//, isLast: true, how: 'missing', says: undefined },
  { what: 'the newest snapshot', file: /^snapshots\//, isLast: true, how: 'cut', says: undefined },
  { what: 'a spare segment', file: /^wal\/spare/, how: 'missing', says: undefined },
  { what: 'a spare segment', file: /^wal\/spare/, how: 'cut', says: undefined },
]

let whole: FaultedBroker

beforeAll(async () => {
  whole = await FaultedBroker.start()
  // Enough for several segments, chunks, snapshots, and a WAL whose beginning is gone.
  for (let i = 0; i < 320; i++) await whole.send()
  await until(() => (whole.broker?.metrics.snapshot().counters.snapshots ?? 0) > 0)
  await whole.stop()
  return () => whole.end()
}, 300_000)

test.each(someOf(damages))(
  'a start where $what is $how says so or does without, and all is there with the file back',
  {
    timeout: 300_000,
  },
  async ({ file, isLast, how, says }) => {
    const broker = await FaultedBroker.copyOf(whole)
    faulted = broker
    const found = (await filesOf(broker.directory)).filter((path) => file.test(path))
    const path = join(broker.directory, found.at(isLast === true ? -1 : 0) as string)
    const bytes = await readFile(path)
    if (how === 'missing') await rm(path)
    else await writeFile(path, bytes.subarray(0, how === 'empty' ? 0 : bytes.length >> 1))
    // A start has no need of snapshots: what is wrong with one is for a verification to say.
    if (path.endsWith('.snapshot') && how !== 'missing') {
      const { faults } = await verifyDirectory({ disk: nodeDisk, directory: broker.directory })
      expect(faults.map((fault) => fault.file)).toEqual([path])
    }
    const refusal = await broker.start().then(
      () => undefined,
      (error: MillraceError) => error,
    )
    if (says === undefined) expect(refusal).toBeUndefined()
    else {
      expect(refusal).toMatchObject({ code: 'CORRUPT_DATA', message: expect.stringMatching(says) })
      await writeFile(path, bytes)
    }
    await broker.assertRecovers()
    if (says === undefined && how !== 'missing') await writeFile(path, bytes)
  },
)

test('a chunk that is cut short is found by the read that needs it, and the rest is served', {
  timeout: 300_000,
}, async () => {
  const broker = await FaultedBroker.start()
  faulted = broker
  for (let i = 0; i < 60; i++) await broker.send()
  await until(() => (broker.broker?.metrics.snapshot().counters.chunksSealed ?? 0) > 5)
  await broker.stop()
  const [first] = (await filesOf(broker.directory)).filter((path) => path.startsWith('chunks/'))
  const path = join(broker.directory, first as string)
  const bytes = await readFile(path)
  await writeFile(path, bytes.subarray(0, 1_000))
  await broker.start()
  const message = expect.stringContaining(path)
  expect(await broker.read(0)).toMatchObject({ code: 'CORRUPT_DATA', message, retriable: false })
  expect(await broker.read(40)).toHaveProperty('values')
  expect(await broker.send()).toHaveProperty('offset')
  await broker.stop()
  await writeFile(path, bytes)
  await broker.assertRecovers()
})

async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  return paths.map((path) => path.slice(directory.length + 1)).sort()
}
