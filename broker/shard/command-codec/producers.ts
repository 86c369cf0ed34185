import type { RequestId, TopicId } from '../../../protocol/ids.js'
import { HARD_LIMITS } from '../../../protocol/limits.js'
import { id, type Shape, text, tuple, uint, uint32 } from '../../../protocol/shape.js'
import { type Codec, codec, listOf, part } from './codec.js'

/** Ids below this may have been handed out. */
export interface ProducerIdsReserved {
  readonly type: 'producerIdsReserved'
  readonly below: number
}

export interface ProducerRegistered {
  readonly type: 'producerRegistered'
  readonly name: string
  readonly producerId: number
  readonly producerEpoch: number
  readonly requestId: RequestId
}

export interface ProducerKey {
  readonly producerId: number
  readonly topicId: TopicId
  readonly partition: number
}

export interface ProducersExpired {
  readonly type: 'producersExpired'
  readonly windows: readonly ProducerKey[]
}

/** A batch whose records were all duplicates: nothing of it is stored, and the producer's sequence goes on. */
export interface ProducerAdvanced extends ProducerKey {
  readonly type: 'producerAdvanced'
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordCount: number
  /** What a retry is answered with. */
  readonly baseOffset: number
}

/** The names go with their ids, and with what is left of their windows. */
export interface ProducerNamesExpired {
  readonly type: 'producerNamesExpired'
  readonly names: readonly string[]
}

export const producerIdsReserved = codec<ProducerIdsReserved>('producerIdsReserved', tuple({ below: uint() }))

const producerName = text(HARD_LIMITS.uint32Max)

export const producerRegistered = codec<ProducerRegistered>(
  'producerRegistered',
  tuple({
    name: producerName,
    producerId: uint(),
    producerEpoch: uint32(),
    requestId: id<RequestId>(),
  }),
)

const windows: Shape<ProducerKey[]> = listOf(tuple({ producerId: uint(), ...part }))

/** Its fields are its windows. */
export const producersExpired: Codec<ProducersExpired> = {
  encode: (command) => windows.write([...command.windows]),
  decode: (fields) => ({ type: 'producersExpired', windows: windows.read(fields, 'producersExpired') }),
}

export const producerAdvanced = codec<ProducerAdvanced>(
  'producerAdvanced',
  tuple({
    producerId: uint(),
    producerEpoch: uint32(),
    ...part,
    baseSequence: uint(),
    recordCount: uint32(),
    baseOffset: uint(),
  }),
)

const names = listOf(producerName)

/** Its fields are the names. */
export const producerNamesExpired: Codec<ProducerNamesExpired> = {
  encode: (command) => command.names,
  decode: (fields) => ({ type: 'producerNamesExpired', names: names.read(fields, 'producerNamesExpired') }),
}
