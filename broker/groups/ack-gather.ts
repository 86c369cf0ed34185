import type { ErrorCode } from '../../protocol/error-codes.js'
import type { MemberId, TopicId } from '../../protocol/ids.js'

export interface MemberAck {
  readonly topicId: TopicId
  readonly partition: number
  /** Of the assignment. */
  readonly epoch: number
  /** The next to read. */
  readonly offset: number
}

/** For each ack null, or why it was refused. */
export type AckResults = (ErrorCode | null)[]

interface Waiting {
  readonly count: number
  readonly resolve: (results: AckResults) => void
  readonly reject: (error: unknown) => void
}

type Write = (acks: readonly (MemberAck & { readonly memberId: MemberId })[]) => Promise<AckResults>

/** The acks of one group: those that come while others are being written are written together. */
export class AckGather {
  readonly #write: Write
  #acks: (MemberAck & { memberId: MemberId })[] = []
  #waiting: Waiting[] = []
  #writes = 0
  #isScheduled = false
  #settled: Promise<unknown> = Promise.resolve()

  constructor(write: Write) {
    this.#write = write
  }

  add(memberId: MemberId, acks: readonly MemberAck[]): Promise<AckResults> {
    for (const ack of acks) this.#acks.push({ ...ack, memberId })
    const done = new Promise<AckResults>((resolve, reject) => {
      this.#waiting.push({ count: acks.length, resolve, reject })
    })
    if (this.#writes === 0 && !this.#isScheduled) {
      this.#isScheduled = true
      queueMicrotask(() => void this.flush())
    }
    return done
  }

  /**
   * Hands over what has come: what is submitted to the shard after this is decided after it. Resolves, and never rejects,
   * once all acks that came before are settled.
   */
  flush(): Promise<unknown> {
    this.#isScheduled = false
    if (this.#waiting.length > 0) {
      const written = this.#writeAll(this.#acks, this.#waiting)
      this.#acks = []
      this.#waiting = []
      this.#settled = Promise.all([this.#settled, written])
    }
    return this.#settled
  }

  async #writeAll(
    acks: readonly (MemberAck & { readonly memberId: MemberId })[],
    waiting: readonly Waiting[],
  ): Promise<void> {
    this.#writes++
    try {
      const results = await this.#write(acks)
      let from = 0
      for (const { count, resolve } of waiting) {
        resolve(results.slice(from, from + count))
        from += count
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error)
    }
    this.#writes--
    if (this.#writes === 0) void this.flush()
  }
}
