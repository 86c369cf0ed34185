import type { Codec } from '../../client/encodings.js'
import type { Topic } from '../../client/topic.js'
import type { Encoding } from '../../protocol/encodings.js'
import type { Wire } from '../../protocol/record.js'

/** Keys and values as they travel: text for text and json, bytes for bytes and msgpack. */
export type WireTopic = Topic<Codec<Wire>, Codec<Wire>>

/**
 * A topic whose keys and values are left as they travel. Commands read and write lines, so what is text stays the
 * text it is: JSON keeps its spaces and its large numbers, and nothing is decoded only to be encoded again.
 */
export async function topicAs(info: {
  readonly name: string
  readonly keyEncoding: Encoding
  readonly valueEncoding: Encoding
}): Promise<WireTopic> {
  const { defineTopic } = await import('../../client/topic.js')
  return defineTopic({
    name: info.name,
    key: asTravelled(info.keyEncoding),
    value: asTravelled(info.valueEncoding),
  })
}

const asTravelled = (encoding: Encoding): Codec<Wire> => ({
  encoding,
  hasSchema: false,
  encode: (wire) => wire,
  decode: (wire) => wire,
})
