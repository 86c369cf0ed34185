import type { TopicId } from '../../protocol/ids.js'
import type { GroupsFace } from '../groups/groups-face.js'
import type { Logger } from '../log.js'
import type { Clock } from '../platform/clock.js'
import type { Failpoints } from '../platform/failpoints.js'
import type { Metrics } from '../platform/metrics.js'
import type { Random } from '../platform/random.js'
import type { PartitionSize } from '../shard/partition-sizes.js'
import type { SealedChunks } from '../shard/sealed-chunks.js'
import type { ShardFace } from '../shard/shard-face.js'
import type { StreamsFace } from '../shard/streams-face.js'
import type { BodyBudget } from './body.js'
import type { ChunkResponses } from './chunks/chunk-responses.js'
import type { Drain } from './drain.js'
import type { GzipPlaces } from './gzip-places.js'
import type { BrokerHealth } from './health.js'
import type { Jobs } from './jobs.js'
import type { HttpLimits } from './limits.js'
import type { PageReader } from './page-reader.js'
import type { Producers } from './producers.js'
import type { RequestMeter } from './request-meter.js'
import type { StreamReader } from './streams/stream-reader.js'
import type { StreamWriter } from './streams/stream-writer.js'
import type { UnsentPages } from './unsent-pages.js'

/** What stands behind the routes once the broker has recovered. */
export interface Backend {
  readonly shard: ShardFace
  readonly groups: GroupsFace
  readonly streams: StreamsFace
  /** Of every partition of a topic, in their order; undefined when there is no such topic. */
  partitionSizes(topicId: TopicId): readonly PartitionSize[] | undefined
  readonly sealed: Pick<SealedChunks, 'list' | 'startingAt' | 'find' | 'open'>
  /** A simulation alone gives them. */
  readonly failpoints?: Failpoints | undefined
}

/** What a route sees of the broker. */
export interface HttpContext {
  /** Throws NOT_READY while the broker starts. */
  readonly backend: Backend
  readonly producers: Producers
  readonly pages: PageReader
  readonly streamReader: StreamReader
  readonly streamWriter: StreamWriter
  readonly chunks: ChunkResponses
  readonly gzip: GzipPlaces
  readonly unsent: UnsentPages
  readonly jobs: Jobs
  readonly bodies: BodyBudget
  readonly health: BrokerHealth
  readonly drain: Drain
  readonly meter: RequestMeter
  readonly clock: Clock
  readonly random: Random
  readonly metrics: Metrics
  readonly limits: HttpLimits
  readonly log: Logger
}
