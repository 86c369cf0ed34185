import { pino } from 'pino'
import { type Listener, type ListenerOptions, startListener } from '../../../broker/listener.js'
import { systemClock } from '../../../broker/platform/clock.js'
import { MemoryMetrics } from '../../../broker/platform/metrics.js'
import { DEFAULT_SESSION_LIMITS, type SessionLimits } from '../../../broker/session/limits.js'
import { atEndOf } from '../../support/ends.js'
import { FakeShard } from '../../support/fake-shard.js'
import { noChunks } from '../../support/no-chunks.js'
import { noGroups } from '../../support/no-groups.js'
import { noStreams } from '../../support/no-streams.js'
import { SeededRandom } from '../../support/seeded-random.js'
import { WireClient } from './wire-client.js'

export interface Harness {
  readonly shard: FakeShard
  readonly metrics: MemoryMetrics
  readonly listener: Listener
  /** Lines that were logged. */
  readonly logged: Record<string, unknown>[]
  connect(options?: Parameters<typeof WireClient.open>[1]): Promise<WireClient>
}

/** A listener before a shard in memory; closed after the test. */
export async function startHarness(
  options: { limits?: Partial<SessionLimits> } & Partial<Omit<ListenerOptions, 'limits' | 'shard'>> = {},
): Promise<Harness> {
  const shard = new FakeShard()
  const metrics = new MemoryMetrics()
  const logged: Record<string, unknown>[] = []
  const { limits, ...others } = options
  const listener = await startListener({
    clock: systemClock,
    random: new SeededRandom(1),
    metrics,
    log: pino({ level: 'debug' }, { write: (line: string) => void logged.push(JSON.parse(line)) }),
    host: '127.0.0.1',
    port: 0,
    allowedOrigins: [],
    brokerName: 'millrace/test',
    groups: noGroups,
    streams: noStreams,
    partitionSizes: () => undefined,
    sealed: noChunks,
    ...others,
    shard,
    limits: { ...DEFAULT_SESSION_LIMITS, ...limits },
  })
  atEndOf('test', () => listener.close({ drainMs: 0 }))
  return {
    shard,
    metrics,
    listener,
    logged,
    async connect(clientOptions) {
      const client = await WireClient.open(listener.port, clientOptions)
      atEndOf('test', () => client.close())
      return client
    },
  }
}

/** Waits until `value` has stopped to change. */
export async function steady(value: () => number): Promise<void> {
  let last = Number.NaN
  for (let current = value(); current !== last; current = value()) {
    last = current
    for (let i = 0; i < 4; i++) await quiet()
  }
}

/** Long enough for anything under way on loopback to arrive: for tests that something does not happen. */
export const quiet = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50))

/** `count` pseudo-random bytes, different for each seed. */
export function bytesOf(count: number, seed = 1): Buffer {
  return Buffer.from(new SeededRandom(seed).bytes(count))
}
