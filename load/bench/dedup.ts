/**
 * `npm run bench:dedup`: what dedup ids cost. Three runs in turn, each on a new broker with one topic of one partition:
 * records without ids, the same with 16 bytes more in each value, and the same as the first with a new id on each. All else
 * is the same: PRODUCE_CHECKED, records a batch, eight batches under way. Against the first, ids cost all that they cost: 16
 * bytes more a record on the network and on disk, checks, look-ups in an index that grows from nothing to all of the run's
 * ids, its manifest rows; through the client also making and hashing them. Against the second, which moves and stores as
 * many bytes, and hashes as many ids in the client, it is the price of the index alone. The last figures are
 * races: eight connections, each two of which send the same ids, so that half of the records are duplicates.
 *
 * Bare frames are made ready while the one before is under way, in memory that is used again. How busy the load process
 * was is printed beside: near 100 % it is what was measured, and not the broker.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { connect, defineTopic, text } from '../../client/index.js'
import { bitmapBytes, DEDUP_ID_HASH_BYTES, setBit } from '../../protocol/entry-section.js'
import { packFrame } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import { error, produceChecked, producedChecked } from '../../protocol/messages/index.js'
import { writeDedupIdHash } from '../../protocol/murmur3.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { plainBatch } from './plain-batch.js'
import { correlationIdOf } from './produce-frames.js'
import { RawConnection } from './raw-connection.js'
import { median } from './series.js'
import { ServerProcess } from './server-process.js'

const HELP = `npm run bench:dedup -- [--rounds N] [--only KINDS] [--directory DIR]

  --rounds N       runs of each kind for each figure; default 4
  --only KINDS     of frames, batches, sends, racingBatches, racingSends, with commas between; default all
  --directory DIR  where the data goes, a new folder in it; default this folder. Needs about 4 GB free`

const KIB = 1024
const IN_FLIGHT = 8
/** Fewer than the index holds, and no more bytes than are written in some seconds. */
const RECORDS_MAX = 5_000_000
const BYTES_MAX = 1_000_000_000
/** As many as take some seconds. */
const CLIENT_RECORDS_MAX = 3_000_000
/** Of a run, before it is measured: until then the processes compile what they do, with ids more than without. */
const WARMUP_SHARE = 0.15

interface Run {
  readonly kind: Kind
  readonly url: string
  readonly recordBytes: number
  readonly variant: Variant
}

/** Bare frames; one client, with `sendBatch` of a thousand or with a promise per record; eight clients, likewise. */
type Kind = 'frames' | 'batches' | 'sends' | 'racingBatches' | 'racingSends'
type Variant = 'plain' | 'padded' | 'ids'
const VARIANTS: readonly Variant[] = ['plain', 'padded', 'ids']

const valueFor = ({ recordBytes, variant }: Pick<Run, 'recordBytes' | 'variant'>): string =>
  'x'.repeat(recordBytes + (variant === 'padded' ? DEDUP_ID_HASH_BYTES : 0))

const NAMES: Readonly<Record<Kind, string>> = {
  frames: 'bare frames',
  batches: 'the client, sendBatch',
  sends: 'the client, send',
  racingBatches: '8 clients, sendBatch',
  racingSends: '8 clients, send',
}

const isRace = (kind: Kind): boolean => kind === 'racingBatches' || kind === 'racingSends'
const isByRecord = (kind: Kind): boolean => kind === 'sends' || kind === 'racingSends'

const recordsOf = ({ kind, recordBytes }: Run): number =>
  Math.min(kind === 'frames' ? RECORDS_MAX : CLIENT_RECORDS_MAX, Math.floor(BYTES_MAX / recordBytes))

interface Figure {
  readonly perSecond: number
  /** Of one core, how much the load process took. */
  readonly busy: number
}

/** Measures from now on; `records` when it is over. */
function startFigure(): (records: number) => Figure {
  const startedMs = performance.now()
  const before = process.cpuUsage()
  return (records) => {
    const ms = performance.now() - startedMs
    const { user, system } = process.cpuUsage(before)
    return { perSecond: records / (ms / 1_000), busy: (user + system) / 1_000 / ms }
  }
}

/** Marks the bytes of ids in a frame, until they are found. */
const ID_MARK = 0xa5

/** A frame of 256 KiB, and what ids add, that is sent again and again, with new ids each time. */
function frameOf(topicId: TopicId, run: Omit<Run, 'url'>) {
  const withIds = run.variant === 'ids'
  const builder = new RecordBatchBuilder({ initialBytes: 400 * KIB })
  const value = valueFor(run)
  for (let n = Math.floor((256 * KIB) / run.recordBytes); n > 0; n--)
    builder.append({ key: null, value, timestamp: 1_700_000_000_000 })
  const batch = plainBatch(builder)
  const { recordCount } = batch
  const idBitmap = new Uint8Array(bitmapBytes(recordCount))
  for (let i = 0; i < recordCount; i++) setBit(idBitmap, i)
  const ids = new Int32Array(4 * recordCount)
  const idBytes = new Uint8Array(ids.buffer)
  const bytes = Buffer.from(
    packFrame(
      produceChecked.write({
        correlationId: correlationIdOf(0),
        topicId,
        partition: 0,
        ...batch,
        expectedOffset: null,
        idBitmap: withIds ? idBitmap : null,
        ids: withIds ? idBytes.fill(ID_MARK) : null,
      }),
    ),
  )
  const correlationAt = bytes.indexOf(0xce) + 1
  const idsAt = withIds ? bytes.indexOf(idBytes) : -1
  // One is free again when its answer is there, and answers come in order.
  const frames = Array.from({ length: IN_FLIGHT + 1 }, () => Buffer.from(bytes))
  let serial = 0
  return {
    recordCount,
    make(index: number): Uint8Array {
      const frame = frames[index % frames.length] as Buffer
      frame.writeUInt32BE(correlationIdOf(index), correlationAt)
      if (idsAt === -1) return frame
      // As evenly spread as hashes are, and never the same twice.
      for (let at = 0; at < ids.length; at += 4) {
        const low = Math.imul(++serial, 0x9e3779b1)
        ids[at] = low
        ids[at + 1] = Math.imul(low ^ (low >>> 15), 0x85ebca6b)
        ids[at + 2] = serial
      }
      frame.set(idBytes, idsAt)
      return frame
    },
  }
}

/** Through bare frames: next to nothing is done on this side. */
async function frames(run: Run): Promise<Figure> {
  const connection = await RawConnection.open(run.url)
  await connection.hello()
  const topicId = await connection.createTopic('bench-dedup')
  const frame = frameOf(topicId, run)
  const total = Math.ceil(recordsOf(run) / frame.recordCount)
  const warmup = Math.ceil(total * WARMUP_SHARE)
  let sent = 0
  let answered = 0
  let finish = startFigure()
  let ready = frame.make(0)
  await new Promise<void>((done, failed) => {
    const send = (): void => {
      if (sent === total) return
      connection.send(ready)
      sent++
    }
    // While the broker works on what was sent.
    const prepare = (): void => {
      if (sent < total) ready = frame.make(sent)
    }
    connection.onFrame((answer) => {
      if (answer[0] === error.opcode) return failed(new Error(String(answer[3])))
      const { duplicates } = producedChecked.read(answer)
      if (duplicates.length > 0) return failed(new Error('an id came twice'))
      if (++answered === warmup) finish = startFigure()
      if (answered === total) return done()
      send()
      prepare()
    })
    for (let i = 0; i < IN_FLIGHT; i++) {
      send()
      prepare()
    }
  })
  connection.close()
  return finish((total - warmup) * frame.recordCount)
}

const Records = defineTopic({ name: 'bench-dedup', key: text(), value: text() })

const LANES = 16
const RACING = 8

/** Through one client, or through eight of which each two send the same ids. */
async function clients(run: Run): Promise<Figure> {
  const count = isRace(run.kind) ? RACING : 1
  const connected = Array.from({ length: count }, () => connect(run.url))
  await connected[0]?.ensureTopic(Records, { partitions: 1 })
  const value = valueFor(run)
  const hash = new Uint8Array(DEDUP_ID_HASH_BYTES)
  const recordOf = (dedupId: string) => {
    if (run.variant === 'ids') return { value, dedupId }
    if (run.variant === 'padded') writeDedupIdHash(dedupId, hash, 0)
    return { value }
  }
  const lanes = connected.flatMap((one, i) => {
    const producer = one.producer(Records)
    return Array.from({ length: LANES / count }, (_, lane) => {
      let serial = 0
      const name = `order-${i % Math.max(1, count / 2)}-${lane}`
      return async (records: number): Promise<void> => {
        for (let n = 0; n < records; n += 1_000) {
          const batch = Array.from({ length: 1_000 }, () => recordOf(`${name}-${++serial}`))
          if (isByRecord(run.kind)) await Promise.all(batch.map((record) => producer.send(record)))
          else await producer.sendBatch(batch)
        }
      }
    })
  })
  const send = (records: number) => Promise.all(lanes.map((lane) => lane(records / LANES)))
  await send(recordsOf(run) * WARMUP_SHARE)
  const finish = startFigure()
  await send(recordsOf(run))
  const figure = finish(recordsOf(run))
  await Promise.all(connected.map((one) => one.close()))
  return figure
}

async function measure(directory: string, run: Omit<Run, 'url'>): Promise<Figure> {
  const server = await ServerProcess.start('broker', directory)
  try {
    const request = JSON.stringify({ ...run, url: server.url })
    const { stdout } = await promisify(execFile)(process.execPath, [
      fileURLToPath(import.meta.url),
      '--load',
      request,
    ])
    return JSON.parse(stdout) as Figure
  } finally {
    await server.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

interface Comparison {
  readonly directory: string
  readonly rounds: number
  readonly kinds: readonly string[]
}

async function compare({ directory, rounds, kinds }: Comparison): Promise<void> {
  console.log(
    `${'records/s (median of runs)'.padEnd(40)} without ids   16 B more     with ids      cost      of the index`,
  )
  for (const [kind, recordBytes] of [
    ['frames', 1_000],
    ['frames', 100],
    ['batches', 1_000],
    ['batches', 100],
    ['sends', 100],
    ['racingBatches', 100],
    ['racingSends', 100],
    ['racingSends', 1_000],
  ] as const) {
    if (!kinds.includes(kind)) continue
    const figures: Record<Variant, Figure[]> = { plain: [], padded: [], ids: [] }
    for (let round = 0; round < rounds; round++) {
      for (const variant of VARIANTS)
        figures[variant].push(await measure(directory, { kind, recordBytes, variant }))
    }
    const perSecond = (figures: readonly Figure[]): number =>
      median(figures.map((figure) => figure.perSecond))
    const thousands = (count: number): string => (count / 1_000).toFixed(0)
    const cell = (figures: readonly Figure[]): string => `${thousands(perSecond(figures))} k`.padEnd(13)
    const costBeside = (others: readonly Figure[]): string =>
      `${(100 * (1 - perSecond(figures.ids) / perSecond(others))).toFixed(1)} %`.padEnd(9)
    const name = `${recordBytes}-byte records, ${NAMES[kind]}`
    const cells = VARIANTS.map((variant) => cell(figures[variant])).join(' ')
    console.log(`${name.padEnd(40)} ${cells} ${costBeside(figures.plain)} ${costBeside(figures.padded)}`)
    const runs = (figures: readonly Figure[]): string =>
      figures
        .map((figure) => `${thousands(figure.perSecond)} (${(100 * figure.busy).toFixed(0)} %)`)
        .join(' ')
    console.log(`  runs (load busy): ${VARIANTS.map((variant) => runs(figures[variant])).join(' | ')}`)
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4' },
    only: { type: 'string', default: Object.keys(NAMES).join(',') },
    directory: { type: 'string', default: '.' },
    load: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(HELP)
} else if (values.load !== undefined) {
  const run = JSON.parse(values.load) as Run
  const figure = await (run.kind === 'frames' ? frames(run) : clients(run))
  process.stdout.write(JSON.stringify(figure), () => process.exit(0))
} else {
  const directory = join(resolve(values.directory), `millrace-bench-dedup-${process.pid}`)
  await mkdir(directory, { recursive: true })
  try {
    const kinds = values.only.split(',')
    const unknown = kinds.filter((kind) => !(kind in NAMES))
    if (unknown.length > 0) throw new Error(`there is no kind "${unknown[0]}"; see --help`)
    await compare({ directory: join(directory, 'data'), rounds: Number(values.rounds), kinds })
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
