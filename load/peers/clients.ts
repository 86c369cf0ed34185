import { durableStreamsClient } from './durable-streams-client.js'
import { jetStreamClient } from './jetstream-client.js'
import type { PeerClient } from './peer-stream.js'
import { rabbitMqClient } from './rabbitmq-client.js'
import { redisClient } from './redis-client.js'

export const clients = {
  redis: redisClient,
  jetstream: jetStreamClient,
  rabbitmq: rabbitMqClient,
  'durable-streams': durableStreamsClient,
} satisfies Record<string, PeerClient>
