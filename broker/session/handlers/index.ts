import { createTopicHandler } from './create-topic.js'
import { creditHandler } from './credit.js'
import { deleteTopicHandler } from './delete-topic.js'
import { fetchHandler } from './fetch.js'
import type { Handler } from './handler.js'
import { helloHandler } from './hello.js'
import { initProducerHandler } from './init-producer.js'
import { listOffsetsHandler } from './list-offsets.js'
import { metadataHandler } from './metadata.js'
import { pingHandler } from './ping.js'
import { produceHandler } from './produce.js'
import { subscribeHandler } from './subscribe.js'
import { unsubscribeHandler } from './unsubscribe.js'

/** Every frame that a client may send. */
export const HANDLERS: readonly Handler[] = [
  helloHandler,
  pingHandler,
  createTopicHandler,
  deleteTopicHandler,
  metadataHandler,
  initProducerHandler,
  produceHandler,
  fetchHandler,
  listOffsetsHandler,
  subscribeHandler,
  creditHandler,
  unsubscribeHandler,
]
