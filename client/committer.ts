import { isErrorCode, MillraceError } from '../protocol/error-codes.js'
import type { MemberId } from '../protocol/ids.js'
import { HARD_LIMITS } from '../protocol/limits.js'
import { ack, acked } from '../protocol/messages/ack.js'
import type { Clock, Timer } from './clock.js'
import type { ConsumerPartition } from './consumer-partition.js'
import type { Link } from './link.js'
import { askLink } from './request.js'

export interface CommitterHost {
  /** The link on which this is a member, and as whom; undefined while it is none. */
  readonly joined: { readonly link: Link; readonly groupId: number; readonly memberId: MemberId } | undefined
  /** The broker did not take an ack of this partition. */
  refused(partition: ConsumerPartition, error: MillraceError): void
  /** Nor any other. */
  failed(error: MillraceError): void
}

interface Sent {
  readonly partition: ConsumerPartition
  readonly offset: number
}

const ACKS_MAX = 1_000
const RETRY_MS = 100

/** Gathers acks and sends them: the floor of each partition that rose, one request at a time. */
export class Committer {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #host: CommitterHost
  /** What may have something to send. */
  readonly #risen = new Set<ConsumerPartition>()
  #acks = 0
  #isHurried = false
  #inFlight = 0
  #timer: Timer | undefined
  #whenSettled: (() => void) | undefined

  constructor(options: { clock: Clock; intervalMs: number; host: CommitterHost }) {
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
    this.#host = options.host
  }

  /** Whether acks were given that are not known to be durable. */
  get isBehind(): boolean {
    for (const partition of this.#risen) if (partition.cursor.isBehind) return true
    return this.#inFlight > 0
  }

  /** Those of which acks were given that are not known to be durable. */
  get behind(): readonly ConsumerPartition[] {
    return [...this.#risen].filter(({ cursor }) => cursor.isBehind)
  }

  /** More of this partition is finished. */
  risen(partition: ConsumerPartition): void {
    if (!partition.cursor.isBehind) return
    this.#risen.add(partition)
    this.#acks++
    if (this.#acks >= ACKS_MAX || partition.cursor.isAwaited) this.hurry()
    else this.#arm(this.#intervalMs)
  }

  /** Sends as soon as nothing is unanswered. */
  hurry(): void {
    this.#isHurried = true
    if (this.#inFlight === 0) this.send()
  }

  /** Sends what there is at once, whatever is unanswered: what is sent on the link after this comes after it. */
  send(): void {
    const { joined } = this.#host
    if (joined === undefined) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#isHurried = false
    this.#acks = 0
    const { behind } = this
    this.#risen.clear()
    const all = behind.map((partition) => ({ partition, offset: partition.cursor.floor }))
    const { acksPerRequestMax } = HARD_LIMITS
    for (let from = 0; from < all.length; from += acksPerRequestMax) {
      this.#request(joined, all.slice(from, from + acksPerRequestMax))
    }
  }

  #request({ link, groupId, memberId }: NonNullable<CommitterHost['joined']>, sent: readonly Sent[]): void {
    const acks = sent.map(({ partition: { topicId, partition, epoch }, offset }) => {
      return { topicId, partition, epoch, offset }
    })
    this.#inFlight++
    for (const { partition, offset } of sent) partition.cursor.sentAt(offset)
    askLink(
      link,
      [ack, acked],
      { groupId, memberId, acks },
      {
        answered: ({ results }) => {
          const refusals = new Map(results.map(({ index, code }) => [index, code]))
          for (const [index, { partition, offset }] of sent.entries()) {
            partition.cursor.answered(offset)
            const code = refusals.get(index)
            if (code === undefined) partition.cursor.durableAt(offset)
            else this.#host.refused(partition, refusalOf(code, partition))
          }
          this.#settled()
        },
        failed: (error) => {
          for (const { partition, offset } of sent) {
            this.#risen.add(partition)
            partition.cursor.answered(offset)
            if (error.outcome === 'unknown') partition.cursor.maybeDurableAt(offset)
          }
          if (!error.retriable) this.#host.failed(error)
          // On a link that is lost the next one sends it again.
          else if (link.isOpen) this.#arm(error.retryAfterMs ?? RETRY_MS)
          this.#settled()
        },
      },
    )
  }

  #settled(): void {
    this.#inFlight--
    if (this.#inFlight > 0) return
    this.#whenSettled?.()
    if (this.#isHurried) this.send()
    else if (this.#risen.size > 0) this.#arm(this.#intervalMs)
  }

  #arm(ms: number): void {
    this.#timer ??= this.#clock.setTimer(() => {
      this.#timer = undefined
      if (this.#inFlight === 0) this.send()
    }, ms)
  }

  /** Resolves when what has been sent is answered. */
  settled(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenSettled = resolve
    })
  }

  /** Sends nothing more: who waits for an ack that is not durable waits in vain. */
  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const partition of this.#risen) partition.abandon()
    this.#risen.clear()
  }
}

function refusalOf(code: string, { topicName, partition, epoch }: ConsumerPartition): MillraceError {
  const place = `topic "${topicName}", partition ${partition}`
  return new MillraceError(isErrorCode(code) ? code : 'INTERNAL', {
    message: `${place}: the broker refused the acknowledgement: ${code}`,
    details: { topic: topicName, partition, epoch },
  })
}
