/** The brokers that `npm run bench` compares Millrace with; README.md says how to install them. */
import { durableStreamsInMemory, durableStreamsOnFiles } from './durable-streams.js'
import { jetStreamDefault, jetStreamDurable } from './jetstream.js'
import type { Peer } from './peer.js'
import { rabbitMqStreams } from './rabbitmq.js'
import { redisDefault, redisDurable } from './redis.js'

export type { Latency, Peer, RunningPeer } from './peer.js'

export const peers: readonly Peer[] = [
  redisDurable,
  redisDefault,
  jetStreamDurable,
  jetStreamDefault,
  rabbitMqStreams,
  durableStreamsOnFiles,
  durableStreamsInMemory,
]

/** What to tell a user whose peers were not found. */
export const HOW_TO_INSTALL =
  'peers: apt-get install redis-server nats-server rabbitmq-server; npm ci --prefix load/peers; see load/peers/README.md'
