/** `npm run bench:dedup`: what dedup ids cost. The same records with and without ids, in turn, each time on a new broker. */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { crc32 } from '#crc32'
import { connect, defineTopic, text } from '../../client/index.js'
import { packFrame } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import { error, produceChecked, producedChecked } from '../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { correlationIdOf } from './produce-frames.js'
import { RawConnection } from './raw-connection.js'
import { ServerProcess } from './server-process.js'

const HELP = `npm run bench:dedup -- [--rounds N] [--directory DIR]

  --rounds N       pairs of runs for each figure; default 4
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 4 GB free`

const KIB = 1024
const IN_FLIGHT = 8
/** Fewer than the index holds, and no more bytes than are written in some seconds. */
const RECORDS_MAX = 5_000_000
const BYTES_MAX = 1_000_000_000

interface Run {
  readonly kind: 'frames' | 'client'
  readonly url: string
  readonly recordBytes: number
  readonly withIds: boolean
}

const recordsOf = ({ kind, recordBytes }: Run): number =>
  kind === 'client' ? 1_000_000 : Math.min(RECORDS_MAX, Math.floor(BYTES_MAX / recordBytes))

/** A frame of 256 KiB that is sent again and again, with new ids each time. */
function frameOf(topicId: TopicId, { recordBytes, withIds }: Run) {
  const builder = new RecordBatchBuilder({ initialBytes: 300 * KIB })
  const value = 'x'.repeat(recordBytes)
  do builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  while (builder.bytes + recordBytes < 256 * KIB)
  const { payload, recordCount, baseTimestamp } = builder.finish()
  const correlationId = correlationIdOf(0)
  const idBytes = 16 * recordCount
  const ids = withIds ? new Uint8Array(idBytes).fill(0xa5) : null
  const fields = {
    correlationId,
    topicId,
    partition: 0,
    producerId: null,
    producerEpoch: 0,
    baseSequence: 0,
    attributes: 0,
    baseTimestamp,
    recordCount,
    inflatedBytes: payload.length,
    payloadCrc: crc32(payload),
    expectedOffset: null,
    idBitmap: withIds ? new Uint8Array(Math.ceil(recordCount / 8)).fill(0xff, 0, recordCount >> 3) : null,
    ids,
    payload,
  }
  const { idBitmap } = fields
  for (let i = recordCount & ~7; idBitmap !== null && i < recordCount; i++)
    idBitmap[i >> 3] = (idBitmap[i >> 3] ?? 0) | (1 << (i & 7))
  const bytes = Buffer.from(packFrame(produceChecked.write(fields)))
  const correlationAt = bytes.indexOf(0xce) + 1
  const idsAt = withIds ? bytes.indexOf(Buffer.alloc(idBytes, 0xa5)) : -1
  let serial = 0
  return {
    recordCount,
    next(index: number): Uint8Array {
      // Its own memory: the one before may not have been sent yet.
      const frame = Buffer.from(bytes)
      frame.writeUInt32BE(correlationIdOf(index), correlationAt)
      if (idsAt === -1) return frame
      // As evenly spread as hashes are, and never the same twice.
      for (let at = idsAt; at < idsAt + idBytes; at += 16) {
        const low = Math.imul(++serial, 0x9e3779b1)
        frame.writeInt32LE(low, at)
        frame.writeInt32LE(Math.imul(low ^ (low >>> 15), 0x85ebca6b), at + 4)
        frame.writeInt32LE(serial, at + 8)
      }
      return frame
    },
  }
}

/** Records a second through bare frames: next to nothing is done on this side. */
async function frames(run: Run): Promise<number> {
  const connection = await RawConnection.open(run.url)
  await connection.hello()
  const topicId = await connection.createTopic('bench-dedup')
  const frame = frameOf(topicId, run)
  const total = Math.ceil(recordsOf(run) / frame.recordCount)
  const warmup = Math.ceil(total / 10)
  let sent = 0
  let answered = 0
  let startedMs = 0
  await new Promise<void>((done, failed) => {
    const send = (): void => {
      if (sent < total) connection.send(frame.next(sent++))
    }
    connection.onFrame((answer) => {
      if (answer[0] === error.opcode) return failed(new Error(String(answer[3])))
      const { duplicates } = producedChecked.read(answer)
      if (duplicates.length > 0) return failed(new Error('an id came twice'))
      if (++answered === warmup) startedMs = performance.now()
      if (answered === total) done()
      else send()
    })
    for (let i = 0; i < IN_FLIGHT; i++) send()
  })
  connection.close()
  return ((total - warmup) * frame.recordCount) / ((performance.now() - startedMs) / 1_000)
}

const Records = defineTopic({ name: 'bench-dedup', key: text(), value: text() })

/** Records a second through the client, which hashes the ids. */
async function client(run: Run): Promise<number> {
  const connected = connect(run.url)
  await connected.ensureTopic(Records, { partitions: 1 })
  const producer = connected.producer(Records)
  const value = 'x'.repeat(run.recordBytes)
  let serial = 0
  const send = async (count: number): Promise<void> => {
    const lanes = Array.from({ length: 16 }, async () => {
      for (let n = 0; n < count / 16; n += 1_000) {
        const records = Array.from({ length: 1_000 }, () =>
          run.withIds ? { value, dedupId: `order-${++serial}` } : { value },
        )
        await producer.sendBatch(records)
      }
    })
    await Promise.all(lanes)
  }
  await send(recordsOf(run) / 10)
  const startedMs = performance.now()
  await send(recordsOf(run))
  const perSecond = recordsOf(run) / ((performance.now() - startedMs) / 1_000)
  await connected.close()
  return perSecond
}

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b)
  return ((sorted[(sorted.length - 1) >> 1] ?? 0) + (sorted[sorted.length >> 1] ?? 0)) / 2
}

async function measure(directory: string, run: Omit<Run, 'url'>): Promise<number> {
  const server = await ServerProcess.start('broker', directory)
  try {
    const request = JSON.stringify({ ...run, url: server.url })
    const { stdout } = await promisify(execFile)(process.execPath, [
      fileURLToPath(import.meta.url),
      '--load',
      request,
    ])
    return Number(stdout)
  } finally {
    await server.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

async function compare(directory: string, rounds: number): Promise<void> {
  console.log(`${'records/s (median of runs)'.padEnd(32)} without ids   with ids      cost`)
  for (const [kind, recordBytes] of [
    ['frames', 1_000],
    ['frames', 100],
    ['client', 1_000],
    ['client', 100],
  ] as const) {
    const [without, withIds]: [number[], number[]] = [[], []]
    for (let round = 0; round < rounds; round++) {
      without.push(await measure(directory, { kind, recordBytes, withIds: false }))
      withIds.push(await measure(directory, { kind, recordBytes, withIds: true }))
    }
    const cost = 1 - median(withIds) / median(without)
    const name = `${recordBytes}-byte records, ${kind === 'frames' ? 'bare frames' : 'the client'}`
    const thousands = (figures: readonly number[]): string =>
      `${(median(figures) / 1_000).toFixed(0)} k`.padEnd(13)
    console.log(`${name.padEnd(32)} ${thousands(without)} ${thousands(withIds)} ${(100 * cost).toFixed(1)} %`)
    const runs = (figures: readonly number[]): string => figures.map((n) => (n / 1_000).toFixed(0)).join(' ')
    console.log(`  runs: ${runs(without)} | ${runs(withIds)}`)
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    directory: { type: 'string', default: '.' },
    load: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(HELP)
} else if (values.load !== undefined) {
  const run = JSON.parse(values.load) as Run
  const perSecond = await (run.kind === 'frames' ? frames(run) : client(run))
  process.stdout.write(String(perSecond), () => process.exit(0))
} else {
  const directory = join(resolve(values.directory), `millrace-bench-dedup-${process.pid}`)
  await mkdir(directory, { recursive: true })
  try {
    await compare(join(directory, 'data'), Number(values.rounds))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
