import type { Report } from '../../../../load/bench/report/report.js'
import { verdictsOf } from '../../../../load/bench/report/verdict.js'

const figures = [
  {
    name: 'throughput-256k',
    about: 'durable MB/s',
    rounds: 2,
    series: { Millrace: [410, 430], 'floor twice': [500, 500], 'floor once': [900, 1_100] },
    failures: [],
    unable: [],
  },
  {
    name: 'queue',
    about: 'jobs/s',
    rounds: 2,
    series: { Millrace: [2e6] },
    failures: ['Redis: <gone>'],
    unable: [],
  },
]

/** A report of two figures, one with a yardstick that was not measured. */
export const sampleReport: Report = {
  section: 'bench',
  takenAt: '2026-01-02T03:04:05.000Z',
  command: 'npm run bench',
  isQuick: false,
  hardware: {
    cpu: 'A processor',
    cores: 2,
    memoryBytes: 16 * 2 ** 30,
    kernel: 'Linux 6.1',
    disk: { device: '/dev/vda', filesystem: 'ext4' },
  },
  versions: { node: 'v20.20.0', millrace: '0.1.0', commit: undefined },
  peers: [{ name: 'Redis', version: '7.0.15', settings: 'appendfsync always', isDurable: true }],
  peersNotMeasured: [{ name: 'RabbitMQ', why: 'cannot be started here' }],
  figures,
  verdicts: verdictsOf(
    [
      {
        figure: 'throughput-256k',
        label: 'durable',
        unit: 'MB/s',
        millrace: 'Millrace',
        yardstick: 'floor twice',
        bar: { of: 'ratio', atLeast: 0.85 },
      },
      {
        figure: 'queue',
        label: 'jobs',
        unit: 'jobs/s',
        millrace: 'Millrace',
        yardstick: 'Redis',
        bar: { of: 'ratio', atLeast: 5 },
      },
    ],
    figures,
  ),
}
