import { createHash } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import {
  COMPRESSION,
  COMPRESSION_MASK,
  entryBytes,
  entryPayload,
  readEntryHeader,
} from '../../../protocol/entry.js'
import { entryFault } from '../../../protocol/entry-check.js'
import { omittedBits } from '../../../protocol/entry-section.js'
import { decodeRecords } from '../../../protocol/records.js'
import type { Seen } from '../../checker/history.js'
import type { ClientProcess } from '../client-process.js'
import type { HttpLink } from '../http-link.js'
import type { Lab } from '../lab.js'
import { assertHttpPossible, requestSurely } from './http-calls.js'
import { nameOf } from './payload.js'
import { thinkMs } from './think.js'
import { ensureTopic, type WorkTopic } from './topics.js'

/** A chunk that was listed, and its bytes once somebody has got them. */
interface Known {
  readonly url: string
  readonly partition: number
  readonly from: number
  readonly next: number
  bytes: Buffer | undefined
}

interface Listed {
  readonly startOffset: number
  readonly endOffset: number
  readonly chunks: readonly {
    readonly url: string
    readonly baseOffset: number
    readonly nextOffset: number
  }[]
  readonly next: number | null
}

/** Lists the sealed chunks of a topic, gets them, whole or a part, and gets them again for as long as the run lasts, as a cache that forgets. */
export async function fetchChunks(
  lab: Lab,
  process: ClientProcess,
  topic: WorkTopic,
  link: HttpLink,
): Promise<void> {
  await ensureTopic(process, [topic])
  const { random } = process
  const fetching = new Fetching(lab, process, { topic, link })
  while (!process.isEnding) {
    try {
      if (!fetching.knowsAny || random.chance(0.3)) await fetching.list(random.below(topic.partitions))
      else await fetching.fetch()
    } catch (error) {
      assertHttpPossible(error)
    }
    await process.sleep(1 + 2 * thinkMs(lab, random))
  }
}

class Fetching {
  readonly #lab: Lab
  readonly #process: ClientProcess
  readonly #topic: WorkTopic
  readonly #link: HttpLink
  readonly #known = new Map<string, Known>()
  #fetches = 0

  constructor(lab: Lab, process: ClientProcess, of: { topic: WorkTopic; link: HttpLink }) {
    this.#lab = lab
    this.#process = process
    this.#topic = of.topic
    this.#link = of.link
  }

  get knowsAny(): boolean {
    return this.#known.size > 0
  }

  async list(partition: number): Promise<void> {
    const { name } = this.#topic
    const since = this.#lab.history.next
    const limit = this.#process.random.pick([2, 100])
    let offset: number | null = 0
    while (offset !== null) {
      const path = `/v1/topics/${name}/partitions/${partition}/chunks?offset=${offset}&limit=${limit}`
      const { body } = await requestSurely(this.#process, this.#link, { method: 'GET', path })
      const { chunks, startOffset, endOffset, next } = body as Listed
      const place = { topicId: name, partition }
      this.#lab.history.record({ type: 'bounds', ...place, startOffset, endOffset, since })
      for (const { url, baseOffset: from, nextOffset } of chunks)
        if (!this.#known.has(url))
          this.#known.set(url, { url, partition, from, next: nextOffset, bytes: undefined })
      offset = next
    }
  }

  /** One of those that are known, be it gone. */
  async fetch(): Promise<void> {
    const { random } = this.#process
    const chunk = random.pick([...this.#known.values()])
    const { url, partition, from, next } = chunk
    const what = { url, topicId: this.#topic.name, partition, from, next, since: this.#lab.history.next }
    try {
      const bytes = await this.#bytesOf(chunk)
      const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 32)
      this.#lab.history.record({ type: 'chunk', ...what, digest })
      chunk.bytes ??= bytes
      // Nothing stands in it that is not listed.
      const reader = `${this.#process.name}/${this.#fetches++}`
      const { topicId } = what
      const records = recordsIn(bytes)
      this.#lab.history.record({
        type: 'read',
        reader,
        via: 'history',
        topicId,
        partition,
        from,
        next,
        records,
      })
    } catch (error) {
      if ((error as { code?: string }).code !== 'CHUNK_GONE') throw error
      this.#lab.history.record({ type: 'chunkGone', ...what })
    }
  }

  /** All of them; if they are known already, sometimes as they are with a part that was asked for anew. */
  async #bytesOf({ url, bytes: known }: Known): Promise<Buffer> {
    const { random } = this.#process
    const get = { method: 'GET', path: url }
    if (known === undefined || known.length === 0 || random.chance(0.5))
      return (await requestSurely(this.#process, this.#link, get)).bytes
    const start = random.below(known.length)
    const end = start + 1 + random.below(known.length - start)
    const headers = { range: `bytes=${start}-${end - 1}` }
    const { bytes } = await requestSurely(this.#process, this.#link, { ...get, headers })
    return Buffer.concat([known.subarray(0, start), bytes, known.subarray(end)])
  }
}

/** The records in a chunk, as a client would read it that trusts the broker: damage shows as other values. */
function recordsIn(bytes: Buffer): Seen[] {
  const seen: Seen[] = []
  for (let at = 0; at < bytes.length; ) {
    const header = readEntryHeader(bytes, at)
    const { baseOffset, recordCount, attributes } = header
    const fault = entryFault(bytes, header, at)
    if (fault !== undefined) return [...seen, [baseOffset, `damaged: ${fault}`]]
    const stored = entryPayload(bytes, header, at)
    const isPlain = (attributes & COMPRESSION_MASK) === COMPRESSION.none
    const payload = isPlain ? stored : gunzipSync(stored)
    for (const { offsetDelta, value } of decodeRecords(payload, recordCount, omittedBits(bytes, header, at)))
      seen.push([baseOffset + offsetDelta, nameOf(value)])
    at += entryBytes(header)
  }
  return seen
}
