import type { TopicId } from '../../protocol/ids.js'
import type { Clock } from '../clock.js'
import type { ChunkContent } from './entry-assembler.js'
import { damaged, errorOf, unanswered } from './history-error.js'

export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** A sealed chunk, as the broker lists it. */
export interface SealedChunk extends ChunkContent {
  readonly bytes: number
  /** Below the server's URL. */
  readonly path: string
}

export interface ChunkList {
  /** Of the topic that has the name now. */
  readonly topicId: string
  readonly endOffset: number
  readonly chunks: readonly SealedChunk[]
}

export interface ChunkServerOptions {
  /** Where the broker's paths begin, without a slash at the end. */
  readonly url: string
  readonly fetch: Fetch
  readonly clock: Clock
  /** Time in which something must come, or the request has failed. */
  readonly stallMsMax: number
}

const CHUNKS_PER_LIST = 100
const CHUNK_ID = /^[0-9a-f]{16}$/
const DIGEST = /^[0-9a-f]{32}$/

/** The broker's sealed chunks over HTTP, by way of whatever caches there are. */
export class ChunkServer {
  readonly #options: ChunkServerOptions

  constructor(options: ChunkServerOptions) {
    this.#options = options
  }

  /** The chunks of a partition from the one that holds `offset` on. Rejects with what the broker says, CONNECTION_LOST, CORRUPT_DATA. */
  async list(
    at: { topicName: string; partition: number; offset: number },
    signal: AbortSignal,
  ): Promise<ChunkList> {
    const { topicName, partition, offset } = at
    const path =
      `/v1/topics/${encodeURIComponent(topicName)}/partitions/${partition}/chunks` +
      `?offset=${offset}&limit=${CHUNKS_PER_LIST}`
    const { response, watch } = await this.#get(path, { signal, cache: 'no-store' })
    try {
      const body = (await response.json()) as Record<string, unknown>
      return listIn(body)
    } catch (cause) {
      throw watch.stalled ?? unanswered(cause)
    } finally {
      watch.end()
    }
  }

  /**
   * The bytes of a chunk from `start` on, in the parts in which they come. Rejects with what the broker says (CHUNK_GONE: it is
   * not there any more), CONNECTION_LOST. `isAnew`: not out of a cache, which may have damaged it.
   */
  async *read(
    chunk: SealedChunk,
    { start, isAnew, signal }: { start: number; isAnew: boolean; signal: AbortSignal },
  ): AsyncGenerator<Uint8Array, void, void> {
    const { response, watch } = await this.#get(chunk.path, {
      signal,
      cache: isAnew ? 'reload' : 'default',
      headers: {
        // What is compressed once more on the way costs the broker more than it spares a program beside it. Browsers ask as they like.
        'accept-encoding': 'identity',
        ...(start === 0 ? {} : { range: `bytes=${start}-` }),
        ...(isAnew ? { 'cache-control': 'no-cache' } : {}),
      },
    })
    const reader = response.body?.getReader()
    try {
      // Who passes over the range gives all.
      let skipped = response.status === 206 ? start : 0
      for (;;) {
        watch.begin()
        const { value, done } = (await reader?.read()) ?? { done: true as const }
        watch.pause()
        if (done || value === undefined) return
        const from = Math.min(value.length, start - skipped)
        skipped += from
        if (from < value.length) yield value.subarray(from)
      }
    } catch (cause) {
      throw watch.stalled ?? unanswered(cause)
    } finally {
      watch.end()
      // Whoever stops in the middle wants no more of it.
      reader?.cancel().catch(() => {})
    }
  }

  async #get(path: string, init: RequestInit & { signal: AbortSignal }) {
    const { url, fetch, clock, stallMsMax } = this.#options
    const watch = new StallWatch({ clock, stallMsMax, signal: init.signal })
    watch.begin()
    try {
      const response = await fetch(`${url}${path}`, { ...init, credentials: 'omit', signal: watch.signal })
      if (!response.ok) throw await errorOf(response)
      return { response, watch }
    } catch (cause) {
      watch.end()
      throw watch.stalled ?? unanswered(cause)
    }
  }
}

/** Cuts a request on which nothing has come for too long, or whose reader has gone. */
class StallWatch {
  readonly #options: { clock: Clock; stallMsMax: number; signal: AbortSignal }
  readonly #abort = new AbortController()
  #timer: { cancel(): void } | undefined
  stalled: Error | undefined

  constructor(options: { clock: Clock; stallMsMax: number; signal: AbortSignal }) {
    this.#options = options
    if (options.signal.aborted) this.#abort.abort()
    options.signal.addEventListener('abort', this.#gone)
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  begin(): void {
    this.pause()
    const { clock, stallMsMax } = this.#options
    this.#timer = clock.setTimer(() => {
      this.stalled = unanswered(new Error(`nothing came for ${stallMsMax} ms`))
      this.#abort.abort()
    }, stallMsMax)
  }

  pause(): void {
    this.#timer?.cancel()
  }

  end(): void {
    this.pause()
    this.#options.signal.removeEventListener('abort', this.#gone)
  }

  readonly #gone = (): void => this.#abort.abort()
}

function listIn(body: Record<string, unknown>): ChunkList {
  const { topicId, partition, endOffset, chunks } = body
  if (typeof topicId !== 'string' || !isCount(partition) || !isCount(endOffset) || !Array.isArray(chunks))
    throw damaged('a list of chunks is not what the broker documents')
  const owner = { topicId: topicId as TopicId, partition }
  return {
    topicId,
    endOffset,
    chunks: chunks.map((chunk) => chunkIn(chunk as Record<string, unknown>, owner)),
  }
}

/** Its path is put together here: an answer names chunks, and nothing else that would be fetched. */
function chunkIn(
  chunk: Record<string, unknown>,
  { topicId, partition }: { topicId: TopicId; partition: number },
): SealedChunk {
  const { chunkId, digest, baseOffset, nextOffset, bytes } = chunk
  const isChunk = CHUNK_ID.test(String(chunkId)) && DIGEST.test(String(digest))
  if (!isChunk || !isCount(baseOffset) || !isCount(nextOffset) || !isCount(bytes))
    throw damaged('a listed chunk is not what the broker documents')
  const path = `/v1/chunks/${topicId}/${partition}/${chunkId}-${digest}`
  return { topicId, partition, baseOffset, nextOffset, bytes, path }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
