import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import { WEBSOCKET_PATH } from '../protocol/version.js'
import { createHttpServer } from './http/http-server.js'
import type { Clock } from './platform/clock.js'
import type { Failpoints } from './platform/failpoints.js'
import type { Metrics } from './platform/metrics.js'
import type { Random } from './platform/random.js'
import type { GroupsFace } from './session/groups-face.js'
import type { SessionLimits } from './session/limits.js'
import type { ShardFace } from './session/shard-face.js'
import { WebSocketFace } from './session/websocket-server.js'

export interface ListenerOptions {
  readonly shard: ShardFace
  readonly groups: GroupsFace
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
}

export interface Listener {
  readonly port: number
  /** Connections open now. */
  readonly connections: number
  /** Stops listening, drains for at most `drainMs`, closes everything. A second call gets the first one's promise. */
  close(options: { drainMs: number }): Promise<void>
}

/** The broker's one port: WebSockets and HTTP on it. Rejects with Node's error when it cannot listen. */
export async function startListener(options: ListenerOptions): Promise<Listener> {
  const { limits, log, host } = options
  const http = createHttpServer({
    log,
    socketsMax: limits.httpConnectionsMax,
    webSocketPath: WEBSOCKET_PATH,
  })
  const webSockets = new WebSocketFace({
    ...options,
    server: http.server,
    origins: { allowedOrigins: options.allowedOrigins, ownHosts: [host] },
  })
  await http.listen({ host, port: options.port })
  const { port } = http.server.address() as AddressInfo
  let closing: Promise<void> | undefined
  return {
    port,
    get connections() {
      return webSockets.connections
    },
    close({ drainMs }) {
      closing ??= closeAll(drainMs)
      return closing
    },
  }

  async function closeAll(drainMs: number): Promise<void> {
    // The port closes first and at once; the server is gone when the last socket is, WebSockets included.
    const stopped = new Promise<void>((resolve) => http.server.close(() => resolve()))
    await webSockets.close({ drainMs })
    await http.close()
    await stopped
  }
}
