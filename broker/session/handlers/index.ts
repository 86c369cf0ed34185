import { ackHandler } from './ack.js'
import { alterTopicHandler } from './alter-topic.js'
import { atomicHandler } from './atomic.js'
import { createTopicHandler } from './create-topic.js'
import { creditHandler } from './credit.js'
import { deadLetterHandler } from './dead-letter.js'
import { deleteBeforeHandler } from './delete-before.js'
import { deleteGroupHandler } from './delete-group.js'
import { deleteTopicHandler } from './delete-topic.js'
import { describeGroupHandler } from './describe-group.js'
import { dlqPurgeHandler } from './dlq-purge.js'
import { dlqReplayHandler } from './dlq-replay.js'
import { fetchHandler } from './fetch.js'
import { groupRevokedHandler } from './group-revoked.js'
import type { Handler } from './handler.js'
import { helloHandler } from './hello.js'
import { initProducerHandler } from './init-producer.js'
import { joinGroupHandler } from './join-group.js'
import { leaveGroupHandler } from './leave-group.js'
import { listGroupsHandler } from './list-groups.js'
import { listOffsetsHandler } from './list-offsets.js'
import { metadataHandler } from './metadata.js'
import { pingHandler } from './ping.js'
import { produceHandler } from './produce.js'
import { produceCheckedHandler } from './produce-checked.js'
import { queueCreditHandler } from './queue-credit.js'
import { queueSettleHandler } from './queue-settle.js'
import { queueStartedHandler } from './queue-started.js'
import { resetCursorsHandler } from './reset-cursors.js'
import { subscribeHandler } from './subscribe.js'
import { unsubscribeHandler } from './unsubscribe.js'

/** Every frame that a client may send. */
export const HANDLERS: readonly Handler[] = [
  helloHandler,
  pingHandler,
  createTopicHandler,
  deleteTopicHandler,
  alterTopicHandler,
  deleteBeforeHandler,
  metadataHandler,
  initProducerHandler,
  produceHandler,
  produceCheckedHandler,
  atomicHandler,
  fetchHandler,
  listOffsetsHandler,
  subscribeHandler,
  creditHandler,
  unsubscribeHandler,
  joinGroupHandler,
  leaveGroupHandler,
  groupRevokedHandler,
  ackHandler,
  deadLetterHandler,
  queueCreditHandler,
  queueSettleHandler,
  queueStartedHandler,
  listGroupsHandler,
  describeGroupHandler,
  resetCursorsHandler,
  deleteGroupHandler,
  dlqReplayHandler,
  dlqPurgeHandler,
]
