import { type MemberId, memberIdFrom, type TopicId, topicIdFrom } from '../../protocol/ids.js'
import { badRequest, printable } from './shape.js'

/** Which job, under which lease: all that settling it takes, so that any process may do it, after a restart of the broker too. */
export interface JobToken {
  readonly memberId: MemberId
  /** What was claimed from. */
  readonly claimedId: TopicId
  /** Where the job is: the same topic, or the one through which dead letters are replayed. */
  readonly topicId: TopicId
  readonly partition: number
  readonly leaseId: number
  readonly offset: number
}

/** A token as clients have it: to them it is opaque. */
export const tokenText = ({ memberId, claimedId, topicId, partition, leaseId, offset }: JobToken): string =>
  [memberId, claimedId, topicId, partition, leaseId, offset].join('.')

const ID = /^[0-9a-f]{32}$/
const NUMBER = /^(0|[1-9]\d{0,15})$/

/** Throws BAD_REQUEST. */
export function readToken(text: string): JobToken {
  const [memberId = '', claimedId = '', topicId = '', ...numbers] = text.split('.')
  const [partition, leaseId, offset] = numbers.map((digits) =>
    NUMBER.test(digits) ? Number(digits) : Number.NaN,
  )
  const isToken =
    [memberId, claimedId, topicId].every((id) => ID.test(id)) &&
    numbers.length === 3 &&
    [partition, leaseId, offset].every(Number.isSafeInteger) &&
    (partition as number) <= 0xffffffff
  if (!isToken) throw badRequest(`"${printable(text)}" is no token of a job`)
  return {
    memberId: memberIdFrom(memberId),
    claimedId: topicIdFrom(claimedId),
    topicId: topicIdFrom(topicId),
    partition: partition as number,
    leaseId: leaseId as number,
    offset: offset as number,
  }
}
