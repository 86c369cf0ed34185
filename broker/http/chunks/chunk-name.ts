import { type TopicId, topicIdFrom } from '../../../protocol/ids.js'
import type { ChunkRow } from '../../manifest/rows.js'
import { badRequest, printable, type Shape } from '../shape.js'

/** Which chunk, and which bytes. */
export interface ChunkName {
  readonly chunkId: number
  /** SHA-256 over all entry headers, cut to 128 bits: see broker/chunks/README.md. */
  readonly digest: string
}

const CHUNK = /^([0-9a-f]{16})-([0-9a-f]{32})$/
const TOPIC_ID = /^[0-9a-f]{32}$/

export const chunkIdText = (chunkId: number): string => chunkId.toString(16).padStart(16, '0')

/** Where a chunk is served: the path names its bytes, so that it never means others. */
export function chunkPath({ topicId, partition, chunkId, section }: ChunkRow): string {
  return `/v1/chunks/${topicId}/${partition}/${chunkIdText(chunkId)}-${section.digest}`
}

function textOnly<T>(
  of: Pick<Shape<T>, 'schema' | 'expects'> & { from(text: string): T | undefined },
): Shape<T> {
  const refuse = (text: string, path: string): never => {
    throw badRequest(`${path}: expected ${of.expects}, got "${printable(text)}"`)
  }
  return {
    schema: of.schema,
    expects: of.expects,
    read: (value, path) =>
      (typeof value === 'string' ? of.from(value) : undefined) ?? refuse(String(value), path),
    readText: (text, path) => of.from(text) ?? refuse(text, path),
  }
}

/** A topic's id in a path. */
export const topicIdParameter: Shape<TopicId> = textOnly({
  schema: {
    type: 'string',
    pattern: TOPIC_ID.source,
    description: 'Of one topic, whatever later has its name.',
  },
  expects: 'a topic id of 32 hex digits',
  from: (text) => (TOPIC_ID.test(text) ? topicIdFrom(text) : undefined),
})

/** A chunk's id and digest in a path. */
export const chunkParameter: Shape<ChunkName> = textOnly({
  schema: { type: 'string', pattern: CHUNK.source, description: 'The chunk id, "-", the digest: as listed.' },
  expects: 'a chunk id of 16 hex digits, "-" and a digest of 32',
  from(text) {
    const [, id = '', digest = ''] = CHUNK.exec(text) ?? []
    const chunkId = Number.parseInt(id, 16)
    return Number.isSafeInteger(chunkId) ? { chunkId, digest } : undefined
  },
})
