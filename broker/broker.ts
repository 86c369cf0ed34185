import { createRequire } from 'node:module'
import { resolveOptions } from './config/load.js'
import type { BrokerConfig, BrokerOptions } from './config/schema.js'
import { Coordinator } from './groups/coordinator.js'
import { BrokerHealth } from './http/health.js'
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from './http/limits.js'
import { type Listener, type ListenerOptions, openFront, startListener } from './listener.js'
import { eventsTo, type Logger, openLog } from './log.js'
import { LmdbStore } from './manifest/lmdb-store.js'
import type { Store } from './manifest/store.js'
import { type Clock, systemClock } from './platform/clock.js'
import { type DirectoryLock, lockDirectory } from './platform/directory-lock.js'
import type { Disk } from './platform/disk.js'
import { type Failpoints, failpointsFromEnvironment } from './platform/failpoints.js'
import { MemoryMetrics } from './platform/metrics.js'
import { nodeDisk } from './platform/node-disk.js'
import { type Random, systemRandom } from './platform/random.js'
import type { RefuseRequest } from './session/dispatch.js'
import { DEFAULT_SESSION_LIMITS, type SessionLimits } from './session/limits.js'
import { layoutOf } from './shard/layout.js'
import { partitionSizes } from './shard/partition-sizes.js'
import type { RecoveryReport } from './shard/recover.js'
import { Shard } from './shard/shard.js'

/** A running broker. */
export interface Broker {
  /** Where clients connect, for example `ws://127.0.0.1:4600`. */
  readonly url: string
  readonly port: number
  /** What the start found in the data directory. */
  readonly recovery: RecoveryReport
  readonly metrics: MemoryMetrics
  /** Settles only if the storage failed: nothing is acknowledged any more and the process should end. */
  readonly failed: Promise<Error>
  /** Finishes what is under way (for `drainMs` at most), makes everything durable and lets the directory go. Idempotent. */
  close(): Promise<void>
}

/** The outside world, which tests replace. */
export interface Platform {
  readonly disk: Disk
  readonly clock: Clock
  readonly random: Random
  readonly failpoints: Failpoints
  /** Keeps other processes out of the data directory. */
  readonly lockDirectory: (directory: string) => Promise<DirectoryLock>
  readonly openStore: (options: { disk: Disk; directory: string }) => Promise<Store>
  readonly listen: (options: ListenerOptions) => Promise<Listener>
  /** Is given what serves the port: a test may cut it. */
  readonly listening?: (listener: Listener) => void
  readonly refuse?: RefuseRequest
}

const { version } = createRequire(import.meta.url)('millrace/package.json') as { version: string }

/**
 * Starts a broker in this process. Throws a ConfigError for options that cannot be, DirectoryLockedError when another
 * broker has the directory, MillraceError CORRUPT_DATA when acknowledged data is damaged, and Node's own error when it
 * cannot listen.
 */
export async function startBroker(
  options: BrokerOptions = {},
  platform: Partial<Platform> = {},
): Promise<Broker> {
  const config = resolveOptions(options)
  const log = options.log ?? (await openLog({ level: config.logLevel, pretty: false }))
  const outside = { ...systemPlatform(), ...platform }
  const { disk, clock, random, failpoints } = outside
  const metrics = new MemoryMetrics({ tell: eventsTo(log) })
  const opened: (() => Promise<void>)[] = []
  const closeAll = async (): Promise<void> => {
    for (const close of opened.splice(0).reverse()) await close()
  }
  let reportFailure: (error: Error) => void = () => {}
  const failed = new Promise<Error>((resolve) => {
    reportFailure = resolve
  })
  try {
    await disk.makeDirectory(config.dataDir)
    const lock = await outside.lockDirectory(config.dataDir)
    opened.push(() => lock.release())
    const isDiskFull = (): boolean => (metrics.read('diskFreeBytes') ?? Infinity) < config.diskFreeBytesMin
    const health = new BrokerHealth({ isDiskFull })
    const { host, port, allowedOrigins, allowedHosts } = config
    // The port opens before recovery, so that whoever asks meanwhile is told: unless the network is a test's own.
    const front =
      platform.listen === undefined
        ? await openFront({
            host,
            port,
            log,
            clock,
            random,
            metrics,
            measured: metrics,
            health,
            version,
            limits: httpLimits(config),
            origins: { allowedOrigins, allowedHosts, ownHosts: [host] },
          })
        : undefined
    if (front !== undefined) opened.push(() => front.close({ drainMs: 0 }))
    const store = await outside.openStore({ disk, directory: layoutOf(config.dataDir).manifest })
    opened.push(() => store.close())
    const shard = await Shard.open({
      directory: config.dataDir,
      disk,
      store,
      clock,
      random,
      failpoints,
      metrics,
      limits: config,
      onFailed: (thrown) => {
        const error = thrown instanceof Error ? thrown : new Error(String(thrown))
        health.failed(error)
        reportFailure(error)
      },
      onWarning: (message, error) => log.warn(error === undefined ? {} : { err: error }, message),
    })
    opened.push(() => shard.close())
    logRecovery(log, shard.report)
    const groups = new Coordinator({
      shard,
      clock,
      random,
      metrics,
      failpoints,
      limits: config,
      onWarning: (message, error) => log.warn({ err: error }, message),
    })
    opened.push(async () => groups.close())
    const streams = shard.topics.openStreams({
      clock,
      time: () => shard.time(),
      warn: (message, error) => log.warn({ err: error }, message),
    })
    streams.start()
    opened.push(async () => streams.stop())
    const listener = await outside.listen({
      shard,
      groups,
      streams,
      limits: sessionLimits(config),
      clock,
      random,
      metrics,
      log,
      failpoints,
      host,
      port,
      allowedOrigins,
      brokerName: `millrace/${version}`,
      refuse: outside.refuse,
      partitionSizes: (topicId) => partitionSizes(shard.groups.state, topicId),
      sealed: shard.sealed,
      front,
    })
    outside.listening?.(listener)
    opened.push(() => listener.close({ drainMs: config.drainMs }))
    let closing: Promise<void> | undefined
    return {
      url: `ws://${urlHost(config.host)}:${listener.port}`,
      port: listener.port,
      recovery: shard.report,
      metrics,
      failed,
      close() {
        closing ??= closeAll()
        return closing
      },
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

const systemPlatform = (): Platform => ({
  disk: nodeDisk,
  clock: systemClock,
  random: systemRandom,
  failpoints: failpointsFromEnvironment(process.env),
  lockDirectory,
  openStore: (options) => LmdbStore.open(options),
  listen: startListener,
})

function sessionLimits(config: BrokerConfig): SessionLimits {
  return {
    ...DEFAULT_SESSION_LIMITS,
    frameBytesMax: config.frameBytesMax,
    recordBytesMax: config.recordBytesMax,
    batchBytesMax: config.batchBytesMax,
    connectionsMax: config.connectionsMax,
    inFlightBytesMax: config.inFlightBytesPerConnection,
    inFlightTotalBytesMax: config.inFlightBytes,
    helloTimeoutMs: config.helloTimeoutMs,
    heartbeatMs: config.heartbeatMs,
  }
}

function httpLimits(config: BrokerConfig): HttpLimits {
  return {
    ...DEFAULT_HTTP_LIMITS,
    connectionsMax: config.httpConnectionsMax,
    bodyBytesMax: config.httpBodyBytesMax,
    bodyBytesTotalMax: config.httpBodyBytes,
    requestTimeoutMs: config.httpRequestTimeoutMs,
    chunkMaxAgeMs: config.httpChunkMaxAgeMs,
    recordBytesMax: config.recordBytesMax,
    streamPollMs: config.streamPollMs,
  }
}

function logRecovery(log: Logger, report: RecoveryReport): void {
  if (report.tornTail !== undefined) {
    log.warn(
      { tornTail: report.tornTail },
      'the last write before the crash never finished: it was cut, nobody had been told of it, a .broken copy is kept',
    )
  }
  const { isNew, wasCleanStop, groupsReplayed, chunksSwept } = report
  log.info({ isNew, wasCleanStop, groupsReplayed, chunksSwept }, isNew ? 'new data directory' : 'recovered')
}

/** Where a client on this machine finds a broker that listens on `host`. */
function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}
