import type { PrometheusPageOptions } from '../prometheus.js'
import type { Route } from '../route.js'
import { streamRoutes } from '../streams/stream-routes.js'
import { appendRoutes } from './append-records.js'
import { chunkRoutes } from './chunks.js'
import { deadLetterRoutes } from './dead-letters.js'
import { eventRoutes } from './events.js'
import { groupRoutes } from './groups.js'
import { healthRoutes } from './health.js'
import { jobRoutes } from './jobs.js'
import { metricsRoutes } from './metrics.js'
import { openApiRoutes } from './openapi.js'
import { partitionRoutes } from './partitions.js'
import { readRoutes } from './read-records.js'
import { topicRoutes } from './topics.js'
import { webSocketRoutes } from './websocket.js'

export interface RoutesOptions extends Pick<PrometheusPageOptions, 'measured'> {
  /** Of the broker. */
  readonly version: string
}

/** Everything that is served. */
export function routesOf(options: RoutesOptions): readonly Route[] {
  const routes = [
    ...topicRoutes,
    ...partitionRoutes,
    ...appendRoutes,
    ...readRoutes,
    ...chunkRoutes,
    ...eventRoutes,
    ...groupRoutes,
    ...deadLetterRoutes,
    ...jobRoutes,
    ...streamRoutes,
    ...webSocketRoutes,
    ...healthRoutes,
    ...metricsRoutes(options),
  ]
  return [...routes, ...openApiRoutes(routes, options)]
}
