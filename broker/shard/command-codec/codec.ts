import type { TopicId } from '../../../protocol/ids.js'
import { id, list, type Shape, tuple, uint, uint32 } from '../../../protocol/shape.js'

/** How the fields of one kind of command stand in the WAL: a MessagePack list in this order. */
export interface Codec<Command extends { readonly type: string }> {
  encode(command: Command): unknown
  decode(fields: unknown): Command
}

/** The codec of a command whose fields are those of `shape`. */
export function codec<Command extends { readonly type: string }>(
  type: Command['type'],
  shape: Shape<Omit<Command, 'type'>>,
): Codec<Command> {
  return {
    encode: (command) => shape.write(command),
    decode: (fields) => ({ type, ...shape.read(fields, type) }) as unknown as Command,
  }
}

/** No list of a command is near this: against nonsense only, the CRC has been checked. */
const LIST_MAX = 10_000_000

export const listOf = <T>(shape: Shape<T>): Shape<T[]> => list(shape, LIST_MAX)

export const topicId = (): Shape<TopicId> => id<TopicId>()

/** The fields that name a partition. */
export const part = { topicId: topicId(), partition: uint32() }

export const offsetRange = tuple({ from: uint(), to: uint() })
