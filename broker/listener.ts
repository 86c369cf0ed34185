import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import type { GroupsFace } from './groups/groups-face.js'
import type { Backend } from './http/context.js'
import { BrokerHealth } from './http/health.js'
import { HttpFace, type HttpFaceOptions } from './http/http-server.js'
import { DEFAULT_HTTP_LIMITS } from './http/limits.js'
import type { Clock } from './platform/clock.js'
import type { Failpoints } from './platform/failpoints.js'
import type { Metrics } from './platform/metrics.js'
import type { Random } from './platform/random.js'
import type { RefuseRequest } from './session/dispatch.js'
import type { SessionLimits } from './session/limits.js'
import { WebSocketFace } from './session/websocket-server.js'
import type { ShardFace } from './shard/shard-face.js'
import type { StreamsFace } from './shard/streams-face.js'

export interface ListenerOptions {
  readonly shard: ShardFace
  readonly groups: GroupsFace
  readonly streams: StreamsFace
  readonly limits: SessionLimits
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly log: Logger
  readonly host: string
  /** 0 takes any free one. */
  readonly port: number
  /** Beside the broker's own host; `*` allows every page. */
  readonly allowedOrigins: readonly string[]
  /** For WELCOME, for example `millrace/0.1.0`. */
  readonly brokerName: string
  readonly failpoints?: Failpoints
  readonly refuse?: RefuseRequest | undefined
  /** What HTTP tells of partitions beside what the shard's face does. */
  readonly partitionSizes: Backend['partitionSizes']
  readonly sealed: Backend['sealed']
  /** A port that is open already, and answers that the broker starts; without it, one is opened. */
  readonly front?: HttpFace | undefined
}

export interface Listener {
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  /** Stops listening, drains for at most `drainMs`, closes everything. A second call gets the first one's promise. */
  close(options: { drainMs: number }): Promise<void>
  /** Lets go of the port and cuts every connection without a word. After it, or after `close`, both do nothing more. */
  cut(): Promise<void>
}

/** Of a port that nobody configured: tests open such. */
function frontDefaults({ brokerName, limits }: ListenerOptions) {
  return {
    limits: { ...DEFAULT_HTTP_LIMITS, connectionsMax: limits.httpConnectionsMax },
    health: new BrokerHealth({ isDiskFull: () => false }),
    version: brokerName.replace(/^.*\//, ''),
  }
}

/**
 * Opens the broker's port before there is a broker behind it: what asks is told that the broker starts. Rejects with Node's
 * error when it cannot listen.
 */
export async function openFront(
  options: HttpFaceOptions & { readonly host: string; readonly port: number },
): Promise<HttpFace> {
  const { host, port } = options
  const front = new HttpFace(options)
  await front.listen({ host, port })
  return front
}

/** The broker's one port: WebSockets and HTTP on it. Rejects with Node's error when it cannot listen. */
export async function startListener(options: ListenerOptions): Promise<Listener> {
  const { shard, groups, streams, partitionSizes, sealed, host } = options
  const origins = { allowedOrigins: options.allowedOrigins, ownHosts: [host] }
  const http = options.front ?? (await openFront({ ...options, origins, ...frontDefaults(options) }))
  const webSockets = new WebSocketFace({ ...options, server: http.server, origins })
  http.serve({ shard, groups, streams, partitionSizes, sealed })
  const { port } = http.server.address() as AddressInfo
  let closing: Promise<void> | undefined
  return {
    port,
    get connections() {
      return webSockets.connections
    },
    close({ drainMs }) {
      closing ??= closeAll({ drainMs }, () => webSockets.close({ drainMs }))
      return closing
    },
    cut() {
      closing ??= closeAll({ drainMs: 0 }, async () => {
        webSockets.cut()
        http.server.closeAllConnections()
      })
      return closing
    },
  }

  async function closeAll(drain: { drainMs: number }, closeWebSockets: () => Promise<void>): Promise<void> {
    // The port closes first and at once; the server is gone when the last socket is, WebSockets included.
    const stopped = new Promise<void>((resolve) => http.server.close(() => resolve()))
    await Promise.all([closeWebSockets(), http.close(drain)])
    await stopped
  }
}
