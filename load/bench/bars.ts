import { isYardstick, JETSTREAM, peerSeries, REDIS } from './peer-series.js'

/** A limit for the ratio of the medians, for the value alone, or for the difference. */
export interface Bar {
  readonly of: 'ratio' | 'value' | 'difference'
  readonly atLeast?: number
  readonly atMost?: number
  /** Wanted, and not promised. */
  readonly isAim?: boolean
}

/** One line of the table: which series of which figure, beside which, and what must hold. */
export interface Row {
  readonly figure: string
  readonly label: string
  readonly unit: string
  /** A series of the figure. */
  readonly millrace: string
  /** A series of the figure. */
  readonly yardstick?: string
  readonly bar?: Bar
}

const ratio = (bar: Omit<Bar, 'of'>): Bar => ({ of: 'ratio', ...bar })
const value = (bar: Omit<Bar, 'of'>): Bar => ({ of: 'value', ...bar })

const redis = peerSeries(REDIS)
const redisBatches = peerSeries(REDIS, 'batches')
const jetstream = peerSeries(JETSTREAM)
const jetstreamBatches = peerSeries(JETSTREAM, 'batches')

/** Lines of one figure: [label, unit, series, yardstick, bar]. */
type Line = readonly [
  label: string,
  unit: string,
  millrace: string,
  yardstick?: string | undefined,
  bar?: Bar | undefined,
]
const figure = (name: string, ...lines: readonly Line[]): Row[] =>
  lines.map(([label, unit, millrace, yardstick, bar]) => ({
    figure: name,
    label,
    unit,
    millrace,
    ...(yardstick !== undefined && { yardstick }),
    ...(bar !== undefined && { bar }),
  }))

const throughput = (name: string, label: string, twice: Bar | undefined): Row[] =>
  figure(
    name,
    [label, 'MB/s', 'Millrace', 'floor twice', twice],
    [label, 'MB/s', 'Millrace', 'floor once'],
    [`${label}: sealed of appended`, '', 'sealed share'],
    [`${label}: WAL at the end of it`, 'MiB', 'WAL after', 'WAL before'],
  )

/** What is compared with what, and the bars. Everything else about a figure stands in its own file. */
export const ROWS: readonly Row[] = [
  ...figure(
    'throughput-256k',
    ['durable, 256 KiB x 8, 60 s', 'MB/s', 'Millrace', 'floor twice', ratio({ atLeast: 0.85 })],
    ['durable, 256 KiB x 8, 60 s', 'MB/s', 'Millrace', 'floor once', ratio({ atLeast: 0.5 })],
    ['durable, 256 KiB x 8: sealed of appended', '', 'sealed share', undefined, value({ atLeast: 0.9 })],
    ['durable, 256 KiB x 8: WAL at the end of it', 'MiB', 'WAL after', 'WAL before', ratio({ atMost: 1.1 })],
  ),
  ...throughput('throughput-16k', 'durable, 16 KiB x 16, 12 s', ratio({ atLeast: 0.75 })),
  ...throughput('throughput-1m', 'durable, 1 MiB x 4, 12 s', undefined),
  ...figure('floor-kept', ['durable, 256 KiB x 8, floor keeps all', 'MB/s', 'Millrace', 'floor kept']),
  ...figure(
    'lone-beside-stream',
    ['lone send beside a stream, p99', 'ms', 'p99 beside', 'p99 idle', ratio({ atMost: 4 })],
    ['lone send beside a stream, p50', 'ms', 'p50 beside', 'p50 idle'],
  ),
  ...figure(
    'produce',
    ['client, a promise per record', 'records/s', 'Millrace', redis, ratio({ atLeast: 10 })],
    ['client, a promise per record', 'records/s', 'Millrace', jetstream, ratio({ atLeast: 20 })],
    [
      'client, a promise per record',
      'records/s',
      'Millrace',
      undefined,
      value({ atLeast: 800_000, isAim: true }),
    ],
    ['client, sendBatch', 'records/s', 'Millrace, sendBatch', 'Millrace', ratio({ atLeast: 1.5 })],
    ['client, sendBatch', 'records/s', 'Millrace, sendBatch', redisBatches],
    ['client, sendBatch', 'records/s', 'Millrace, sendBatch', jetstreamBatches],
  ),
  ...figure(
    'consume',
    ['client from chunks, by record', 'records/s', 'Millrace', redis, ratio({ atLeast: 1.5 })],
    ['client from chunks, by record', 'records/s', 'Millrace', jetstream],
    [
      'client from chunks, by record',
      'records/s',
      'Millrace',
      undefined,
      value({ atLeast: 1_500_000, isAim: true }),
    ],
    ['client from chunks, by batch', 'records/s', 'Millrace, batches', redis, ratio({ atLeast: 3 })],
    ['client from chunks, by batch', 'records/s', 'Millrace, batches', redisBatches],
    [
      'client from chunks, by batch',
      'records/s',
      'Millrace, batches',
      undefined,
      value({ atLeast: 3_000_000, isAim: true }),
    ],
    ['client from chunks, group by record', 'records/s', 'Millrace, group', redis],
  ),
  ...figure(
    'lone-sends',
    ['1,000 awaited lone sends, p50', 'ms', 'p50', 'bare write p50', ratio({ atMost: 3 })],
    ['1,000 awaited lone sends, p99', 'ms', 'p99', 'bare write p99'],
    ['the first 1,000 of new processes, p50', 'ms', 'first p50', 'bare write p50'],
    ['1,000 awaited lone sends, p50', 'ms', 'p50', peerSeries(REDIS, 'p50')],
    ['1,000 awaited lone sends, p50', 'ms', 'p50', peerSeries(JETSTREAM, 'p50')],
  ),
  ...figure(
    'open-loop',
    ['5,000 records/s to delivered, p50', 'ms', 'p50', undefined, value({ atMost: 5 })],
    ['5,000 records/s to delivered, p99', 'ms', 'p99', undefined, value({ atMost: 15 })],
  ),
  ...figure(
    'partitions',
    ['1,000 partitions / 1, 16 KiB frames', 'MB/s', '1,000 frames', '1 frames', ratio({ atLeast: 0.6 })],
    ['1,000 partitions / 1, client', 'records/s', '1,000 client', '1 client', ratio({ atLeast: 0.6 })],
  ),
  ...figure(
    'fan-out',
    ['fan-out to 200, bytes out', 'MB/s', 'Millrace', 'pread floor', ratio({ atLeast: 0.6 })],
    ['fan-out to 200, CPU per MB out', 'ms', 'CPU per MB', 'floor CPU per MB'],
    [
      'fan-out to 200, consumers that got other bytes',
      '',
      'consumers that differ',
      undefined,
      value({ atMost: 0 }),
    ],
    ['fan-out to 200, reads past the cache', '', 'share past the cache', undefined, value({ atMost: 0.01 })],
  ),
  ...figure(
    'idle-connections',
    [
      '5,000 idle connections, anonymous, each',
      'KB',
      'KB each',
      'bare ws KB each',
      { of: 'difference', atMost: 20 },
    ],
    ['5,000 idle connections, RSS, each', 'KB', 'RSS KB each', 'bare ws RSS KB each'],
  ),
  ...figure(
    'queue',
    ['work queue, claimed and acked', 'jobs/s', 'Millrace', redis, ratio({ atLeast: 5 })],
    ['work queue, claimed and acked', 'jobs/s', 'Millrace', jetstream],
  ),
  ...figure('start-after-kill', [
    'start after SIGKILL, 512 MiB of WAL',
    's',
    'start',
    undefined,
    value({ atMost: 2 }),
  ]),
  ...figure(
    'stopped-reader',
    ['10 GB beside a stopped reader, anonymous', 'MB', 'anonymous', undefined, value({ atMost: 250 })],
    ['10 GB beside a stopped reader, RSS', 'MB', 'RSS'],
  ),
  ...figure(
    'stopped-broker',
    [
      '10 M sends, no broker: promises settled',
      '',
      'settled share',
      undefined,
      value({ atLeast: 1, atMost: 1 }),
    ],
    [
      '10 M sends, no broker: buffered of the most allowed',
      '',
      'buffered share',
      undefined,
      value({ atMost: 1 }),
    ],
    ['10 M sends, no broker: anonymous', 'MB', 'anonymous'],
  ),
  ...figure(
    'many-topics',
    ['100,000 topics, start', 's', 'start', undefined, value({ atMost: 5 })],
    ['100,000 topics, on disk', 'MB', 'disk'],
    ['100,000 topics, anonymous after the start', 'MB', 'anonymous'],
    ['100,000 topics, RSS after the start', 'MB', 'RSS'],
  ),
  ...figure('many-chunks', [
    'clean start, 10,000 partitions, 100,000 chunks',
    's',
    'start',
    undefined,
    value({ atMost: 1 }),
  ]),
]

/** Lines for the peers that no bar names; `names` are those that were measured. */
export function rowsBeside(names: readonly string[]): Row[] {
  const others = names.filter((name) => !isYardstick({ name }))
  return others.flatMap((name): Row[] => [
    ...figure('produce', ['client, a promise per record', 'records/s', 'Millrace', peerSeries(name)]),
    ...figure('produce', [
      'client, sendBatch',
      'records/s',
      'Millrace, sendBatch',
      peerSeries(name, 'batches'),
    ]),
    ...figure('consume', ['client from chunks, by record', 'records/s', 'Millrace', peerSeries(name)]),
    ...figure('lone-sends', ['1,000 awaited lone sends, p50', 'ms', 'p50', peerSeries(name, 'p50')]),
    ...figure('queue', ['work queue, claimed and acked', 'jobs/s', 'Millrace', peerSeries(name)]),
  ])
}
