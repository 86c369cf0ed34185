import { MillraceError } from '../../protocol/error-codes.js'
import { fetched, fetch as fetchFrame } from '../../protocol/messages/fetch.js'
import { Backoff } from '../backoff.js'
import type { Connection } from '../connection.js'
import { pause } from '../deadline.js'
import type { PolledTarget } from '../polled-partitions.js'
import { request } from '../request.js'
import type { ChunkServer, SealedChunk } from './chunk-server.js'
import { EntryAssembler } from './entry-assembler.js'
import { damaged } from './history-error.js'

/** A partition that wants its history. */
export interface HistoryTarget extends Omit<PolledTarget, 'ended'> {
  readonly topicName: string
  /** The end as it was last told. */
  readonly durableEnd: number
  /** Exclusive; undefined: no end. */
  readonly end: number | undefined
  /**
   * Nothing more comes this way: the rest is the WebSocket's, from `nextOffset` on. With the error, where it is not because all that
   * is sealed has come.
   */
  historyEnded(error: MillraceError | undefined): void
}

export interface HistoryOptions {
  readonly server: ChunkServer
  readonly connection: Connection
}

/** Attempts in a row that bring nothing, after which history is left to the WebSocket. */
const FAILURES_MAX = 3
const RETRY_BASE_MS = 100
const RETRY_CAP_MS = 2_000

/**
 * Reads what is sealed of one partition over HTTP, chunk by chunk, as fast as the target has room for it. It ends where nothing is
 * sealed yet, and wherever HTTP cannot go on: always between two entries.
 */
export class ChunkHistory {
  readonly #target: HistoryTarget
  readonly #options: HistoryOptions
  readonly #ending = new AbortController()
  readonly #backoff: Backoff
  #failures = 0
  /** What came was damaged: the next attempt passes over caches. */
  #isAnew = false
  #wake: (() => void) | undefined

  constructor(target: HistoryTarget, options: HistoryOptions) {
    this.#target = target
    this.#options = options
    const { random } = options.connection.settings
    this.#backoff = new Backoff({ random, baseMs: RETRY_BASE_MS, capMs: RETRY_CAP_MS })
  }

  /** Called once. */
  async run(): Promise<void> {
    const { signal } = this.#ending
    let error: MillraceError | undefined
    try {
      while (!signal.aborted && (await this.#step()));
    } catch (thrown) {
      error = thrown instanceof MillraceError ? thrown : new MillraceError('INTERNAL', { cause: thrown })
    }
    if (!signal.aborted) this.#target.historyEnded(error)
  }

  /** Nobody wants it any more. */
  stop(): void {
    this.#ending.abort()
    this.#wake?.()
  }

  /** The target has taken something. */
  hasRoom(): void {
    this.#wake?.()
  }

  /** One list of chunks. False when that was all. */
  async #step(): Promise<boolean> {
    const target = this.#target
    const { topicId, topicName, partition, nextOffset: offset, end } = target
    if (end !== undefined && offset >= end) return false
    try {
      const list = await this.#options.server.list({ topicName, partition, offset }, this.#ending.signal)
      // The name is another topic's by now: whoever asks by the id is told.
      if (list.topicId !== topicId) return false
      target.endIs(list.endOffset)
      const [first] = list.chunks
      if (first === undefined) return false
      if (first.baseOffset > offset) return await this.#lead(first.baseOffset)
      for (const chunk of list.chunks) {
        if (end !== undefined && target.nextOffset >= end) return false
        await this.#chunk(chunk, list.endOffset)
      }
      // A cache that keeps lists would be asked for ever.
      if (target.nextOffset === offset) throw damaged('the chunks that were listed hold nothing that is next')
      return true
    } catch (error) {
      await this.#failed(error)
      return true
    }
  }

  /** Rejects with the error when there is no use in another attempt. */
  async #failed(error: unknown): Promise<void> {
    if (!(error instanceof MillraceError) || this.#ending.signal.aborted) throw error
    const isDamaged = error.code === 'CORRUPT_DATA'
    this.#failures++
    // One that was deleted, or replaced: a new list tells.
    const isPassing = error.retriable || isDamaged || error.code === 'CHUNK_GONE'
    if (!isPassing || this.#failures >= FAILURES_MAX) throw error
    this.#isAnew ||= isDamaged
    const { clock } = this.#options.connection.settings
    const { closing } = this.#options.connection
    await pause(this.#backoff.nextDelayMs(), clock, { signal: this.#ending.signal, hurry: closing })
  }

  async #chunk(chunk: SealedChunk, endOffset: number): Promise<void> {
    const target = this.#target
    const assembler = new EntryAssembler(chunk, { from: target.nextOffset })
    for (;;) {
      try {
        const isAnew = this.#isAnew
        const { signal } = this.#ending
        const parts = this.#options.server.read(chunk, { start: assembler.wholeBytes, isAnew, signal })
        for await (const part of parts) {
          const entries = assembler.add(part)
          if (entries === undefined) continue
          this.#progressed()
          target.delivered({ entries: entries.bytes, durableEnd: Math.max(endOffset, target.durableEnd) })
          await this.#room()
          if (signal.aborted) throw signal.reason
        }
        if (!assembler.isWhole || assembler.wholeBytes !== chunk.bytes)
          throw damaged('a chunk ends before its end')
        return
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'CHUNK_GONE') throw error
        await this.#failed(error)
        assembler.restart()
      }
    }
  }

  /** Records before the first chunk that can be had whole, by the WebSocket: those of one that holds deleted records too. */
  async #lead(to: number): Promise<boolean> {
    const target = this.#target
    const { connection } = this.#options
    const { topicId, partition } = target
    const { signal } = this.#ending
    while (target.nextOffset < to) {
      await this.#room()
      const fields = { topicId, partition, offset: target.nextOffset, minBytes: 0, maxWaitMs: 0 }
      const maxBytes = Math.max(1, target.roomBytes)
      const answer = await request(connection, [fetchFrame, fetched], { ...fields, maxBytes }, { signal })
      if (signal.aborted || answer.entries.length === 0) return false
      target.delivered(answer)
      this.#progressed()
    }
    return true
  }

  #progressed(): void {
    this.#failures = 0
    this.#isAnew = false
    this.#backoff.reset()
  }

  /** Resolves when the target takes something, or nobody wants it any more. */
  async #room(): Promise<void> {
    while (this.#target.roomBytes <= 0 && !this.#ending.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
