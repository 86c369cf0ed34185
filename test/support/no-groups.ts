import type { GroupsFace } from '../../broker/groups/groups-face.js'
import { MillraceError } from '../../protocol/error-codes.js'

const refuse = (): never => {
  throw new MillraceError('UNKNOWN_GROUP')
}
const reject = async (): Promise<never> => refuse()

/** For tests of what has nothing to do with groups: there are none, and none can be made. */
export const noGroups: GroupsFace = {
  join: reject,
  leave: reject,
  revoked: refuse,
  ack: reject,
  deadLetter: reject,
  queueCredit: refuse,
  queueStarted: refuse,
  queueSettle: reject,
  list: () => ({ groups: [], next: null }),
  describe: reject,
  reset: reject,
  deleteGroup: reject,
  dlqReplay: reject,
  dlqPurge: reject,
}
