import { MillraceError } from '../../../protocol/error-codes.js'
import { PRODUCER_WINDOW_BATCHES } from '../../../protocol/limits.js'
import { hello, welcome } from '../../../protocol/messages/hello.js'
import { PROTOCOL_VERSION } from '../../../protocol/version.js'
import { CLOSE } from '../close-codes.js'
import { handler } from './handler.js'

/** The credential is not looked at: this version knows no users. */
export const helloHandler = handler(hello, (session, request) => {
  if (session.isOpen) throw new MillraceError('HELLO_REPEATED')
  const { correlationId, minVersion, maxVersion, clientName } = request
  if (minVersion > PROTOCOL_VERSION || maxVersion < PROTOCOL_VERSION) {
    session.fail(
      correlationId,
      new MillraceError('UNSUPPORTED_VERSION', {
        message: `this broker speaks version ${PROTOCOL_VERSION}, the client ${minVersion} to ${maxVersion}`,
        details: { minVersion: PROTOCOL_VERSION, maxVersion: PROTOCOL_VERSION },
      }),
    )
    session.close(CLOSE.policy, 'unsupported protocol version')
    return undefined
  }
  session.opened(clientName)
  const { shard, limits, brokerName } = session
  session.reply(welcome, {
    correlationId,
    version: PROTOCOL_VERSION,
    clusterId: shard.clusterId,
    shardEpoch: shard.shardEpoch,
    brokerName,
    limits: {
      frameBytesMax: limits.frameBytesMax,
      recordBytesMax: limits.recordBytesMax,
      batchBytesMax: limits.batchBytesMax,
      inFlightBytesMax: limits.inFlightBytesMax,
      producerWindowBatches: PRODUCER_WINDOW_BATCHES,
    },
    features: ['groups'],
    time: shard.time(),
  })
  return undefined
})
