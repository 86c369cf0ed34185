import type { Figure } from '../figure.js'
import { consume } from './consume.js'
import { fanOut } from './fan-out.js'
import { idleConnections } from './idle-connections.js'
import { loneBesideStream } from './lone-beside-stream.js'
import { loneSends } from './lone-sends.js'
import { manyChunks } from './many-chunks.js'
import { manyTopics } from './many-topics.js'
import { openLoop } from './open-loop.js'
import { partitions } from './partitions.js'
import { produce } from './produce.js'
import { queue } from './queue.js'
import { startAfterKill } from './start-after-kill.js'
import { stoppedBroker } from './stopped-broker.js'
import { stoppedReader } from './stopped-reader.js'
import { floorKept, throughput1m, throughput16k, throughput256k } from './throughput.js'

/** In the order in which they are taken and shown. */
export const FIGURES: readonly Figure[] = [
  throughput256k,
  throughput16k,
  throughput1m,
  loneBesideStream,
  produce,
  consume,
  loneSends,
  openLoop,
  partitions,
  fanOut,
  idleConnections,
  queue,
  startAfterKill,
  floorKept,
  stoppedReader,
  stoppedBroker,
  manyTopics,
  manyChunks,
]
