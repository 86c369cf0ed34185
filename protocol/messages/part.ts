import type { MemberId, TopicId } from '../ids.js'
import { HARD_LIMITS } from '../limits.js'
import { id, list, text, tuple, uint, uint32 } from '../shape.js'

/** Fields that many frames share; spread into the fields of a message or tuple. */

/** A partition. */
export const part = { topicId: id<TopicId>(), partition: uint32() }

/** A member of a group, as every frame of its membership names it. */
export const membership = {
  /** Of GROUP_JOINED. */
  groupId: uint32(),
  memberId: id<MemberId>(),
}

/** The name of a topic or group: what is too long or illegal gets an error of its own, not BAD_FRAME. */
export const name = text(1024)

/** Offsets from `from` to `to`, `to` not included; sorted, without overlap. */
export const ranges = list(tuple({ from: uint(), to: uint() }), HARD_LIMITS.rangesMax)

/** Items of a request that were refused, by their index in it; the others were done. */
export const refusals = list(tuple({ index: uint32(), code: text(64) }), HARD_LIMITS.acksPerRequestMax)
