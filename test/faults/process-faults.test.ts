import { execFileSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { SmallFileSystem } from '../support/small-file-system.js'
import { until } from '../support/until.js'
import { someOf } from './some-of.js'

const MIB = 1024 * 1024
const Logs = defineTopic({ name: 'logs', key: text(), value: text() })
const SMALL = {
  'batch-bytes-max': '256KiB',
  'record-bytes-max': '64KiB',
  'group-bytes-max': '256KiB',
  'wal-segment-bytes': '1MiB',
  'wal-bytes-max': '8MiB',
  'chunk-bytes': '256KiB',
  'snapshot-every-bytes': '2MiB',
}
const MAY_NOT_MOUNT = 'this process may not mount a file system'
const hasPrlimit = canRun('prlimit')

const ending: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
})

function canRun(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function started(dataDir: string, flags: Record<string, string> = {}): Promise<BrokerProcess> {
  const broker = new BrokerProcess({ dataDir, flags: { ...SMALL, ...flags } })
  ending.push(() => broker.kill())
  await broker.start()
  return broker
}

function connected(broker: BrokerProcess): Client {
  const client = connect(broker.url, { backoffCapMs: 200 })
  ending.push(() => client.close({ drainMs: 0 }))
  return client
}

async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-faults-'))
  ending.push(() => rm(directory, { recursive: true }))
  return directory
}

interface Load {
  readonly max: number
  readonly bytes: number
  /** It is going to end; a record that is late before that was held up by something else, and more are sent. */
  readonly doomed?: BrokerProcess
  /** What is acknowledged, by offset, as soon as it is. */
  readonly acknowledged?: Map<number, string>
}

/** Writes numbered records until one is refused; returns those that were acknowledged, and the refusal. */
async function fill(client: Client, { max, bytes, doomed, acknowledged = new Map() }: Load) {
  const producer = client.producer(Logs, { deliveryTimeoutMs: doomed === undefined ? 60_000 : 1_500 })
  let refusal: { code?: string } | undefined
  let hasEnded = doomed === undefined
  void doomed?.ended().then(() => {
    hasEnded = true
  })
  for (let n = 0; n < max && (refusal === undefined || !hasEnded); n++) {
    const value = `${n} ${'x'.repeat(bytes)}`
    await producer.send({ key: null, value }).then(
      ({ offset }) => acknowledged.set(offset, value),
      (error: { code?: string }) => {
        refusal = error
      },
    )
  }
  return { acknowledged, refusal }
}

async function expectKept(broker: BrokerProcess, acknowledged: ReadonlyMap<number, string>): Promise<void> {
  const found = new Map<number, string>()
  for await (const { offset, value } of connected(broker).read(Logs, { from: 'earliest', to: 'end' }))
    found.set(offset, value)
  for (const [offset, value] of acknowledged)
    if (found.get(offset) !== value) throw new Error(`offset ${offset} is lost`)
}

async function smallFileSystem(megabytes: number): Promise<SmallFileSystem> {
  const system = await SmallFileSystem.make(megabytes)
  ending.push(() => system.remove())
  return system
}

/** Starts a broker that cannot, and returns what it said. */
async function refusalOf(broker: BrokerProcess): Promise<string> {
  return await broker.start().then(
    () => Promise.reject(new Error('it started')),
    ({ message }: Error) => message,
  )
}

test('a broker whose disk is full in spite of its watermark ends in words, and a start with room holds all', {
  timeout: 300_000,
}, async ({ skip }) => {
  const system = await smallFileSystem(24)
  if (!system.isMounted) skip(MAY_NOT_MOUNT)
  const ballast = join(system.directory, 'ballast')
  await writeFile(ballast, new Uint8Array(12 * MIB))
  const dataDir = join(system.directory, 'data')
  const broker = await started(dataDir, { 'disk-free-bytes-min': '0' })
  const client = connected(broker)
  await client.createTopic(Logs)
  const { acknowledged, refusal } = await fill(client, { max: 3_000, bytes: 60_000, doomed: broker })
  expect(refusal?.code).toMatch(/STORAGE_FAILED|TIMEOUT|CONNECTION_LOST|DISK_FULL|BACKPRESSURE/)
  expect(acknowledged.size).toBeGreaterThan(50)
  await until(() => /no space left on the disk/.test(broker.output), { timeoutMs: 60_000 })
  await broker.kill()
  await rm(ballast)
  await broker.start()
  await expectKept(broker, acknowledged)
  expect((await fill(connected(broker), { max: 10, bytes: 100 })).refusal).toBeUndefined()
})

test('a data directory that is read-only is refused in one line, and started from when it is writable again', {
  timeout: 300_000,
}, async ({ skip }) => {
  const system = await smallFileSystem(32)
  if (!system.isMounted) skip(MAY_NOT_MOUNT)
  const broker = await started(join(system.directory, 'data'), { 'disk-free-bytes-min': '0' })
  const client = connected(broker)
  await client.createTopic(Logs)
  const { acknowledged } = await fill(client, { max: 100, bytes: 100 })
  await client.close()
  expect(await broker.stop()).toBe(0)
  system.remount('ro')
  const said = await refusalOf(broker)
  expect(said).toContain('the broker ended (1)')
  expect(said).toMatch(/cannot use the data directory .*: .*EROFS, the file system is read-only|EROFS/)
  system.remount('rw')
  await broker.start()
  await expectKept(broker, acknowledged)
})

test.skipIf(!hasPrlimit)(
  'a full table of file descriptors refuses newcomers, not those who are there, and passes',
  {
    timeout: 300_000,
  },
  async () => {
    const broker = await started(await temporary(), { 'chunk-bytes': '2MiB' })
    const client = connected(broker)
    await client.createTopic(Logs)
    const before = await fill(client, { max: 20, bytes: 100 })
    const open = new Set((await readdir(`/proc/${broker.pid}/fd`)).map(Number))
    // The first that is free: whoever wants one more has none.
    const full = Array.from({ length: open.size + 1 }, (_, descriptor) => descriptor).find(
      (each) => !open.has(each),
    )
    const limit = (descriptors: number): void => {
      execFileSync('prlimit', ['--pid', String(broker.pid), `--nofile=${descriptors}:`])
    }
    limit(full as number)
    const newcomer = connect(broker.url, { requestTimeoutMs: 500 })
    ending.push(() => newcomer.close({ drainMs: 0 }))
    await expect(newcomer.describeTopic(Logs)).rejects.toMatchObject({
      code: expect.stringMatching(/TIMEOUT|CONNECTION_LOST/),
    })
    const during = await fill(client, { max: 50, bytes: 100 })
    expect(during.refusal).toBeUndefined()
    limit(1_024)
    await expect(connected(broker).describeTopic(Logs)).resolves.toMatchObject({ name: 'logs' })
    const { pid } = broker
    await expectKept(broker, new Map([...before.acknowledged, ...during.acknowledged]))
    expect(broker.pid).toBe(pid)
  },
)

// The broker has no threads of its own: those of libuv and LMDB cannot die alone, the process goes with them.
test.each(someOf(['SIGSEGV', 'SIGBUS', 'SIGABRT'] as const))(
  'a thread that dies of %s takes the process, and no record',
  {
    timeout: 300_000,
  },
  async (signal) => {
    const broker = await started(await temporary())
    const client = connected(broker)
    await client.createTopic(Logs)
    const acknowledged = new Map<number, string>()
    const writing = fill(client, { max: 1_000_000, bytes: 500, doomed: broker, acknowledged })
    await until(() => acknowledged.size > 50)
    const threads = (await readdir(`/proc/${broker.pid}/task`)).map(Number)
    process.kill(threads.find((thread) => thread !== broker.pid) as number, signal)
    await writing
    await broker.kill()
    await broker.start()
    await expectKept(broker, acknowledged)
  },
)
