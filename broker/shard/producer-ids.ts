import { MillraceError } from '../../protocol/error-codes.js'
import type { RequestId } from '../../protocol/ids.js'
import { claim, PRODUCER_IDS } from './claims.js'
import type { Change } from './group-commit.js'
import type { ShardState } from './state.js'

export interface ProducerIdentity {
  readonly producerId: number
  readonly producerEpoch: number
}

export interface ProducerIdsOptions {
  readonly state: ShardState
  readonly submit: <T>(change: Change<T>) => Promise<T>
  readonly limits: { readonly producersMax: number }
  /** There are more names than are kept: the longest unused should go. */
  readonly onSurplus: () => void
}

/** Names are refused only when those that are too many do not go fast enough. */
const NAMES_REFUSED_FACTOR = 2
/** Ids that one write reserves: a producer that connects costs no write of its own. */
const BLOCK = 1000

/** Gives producers their ids. What a block still had at a crash is skipped: no id is given twice. */
export class ProducerIds {
  readonly #options: ProducerIdsOptions
  #next = 0
  #below = 0
  #reserving: Promise<void> | undefined

  constructor(options: ProducerIdsOptions) {
    this.#options = options
  }

  async init({ requestId, name }: { requestId: RequestId; name: string | null }): Promise<ProducerIdentity> {
    if (name === '') throw new MillraceError('ILLEGAL_ARGUMENT', { message: "a producer's name is empty" })
    if (name !== null) return this.#options.submit(this.#register(requestId, name))
    while (this.#next >= this.#below) {
      this.#reserving ??= this.#reserve()
      await this.#reserving
    }
    return { producerId: this.#next++, producerEpoch: 0 }
  }

  async #reserve(): Promise<void> {
    const { state, submit } = this.#options
    try {
      const block = await submit({
        decide: ({ claimed }) => {
          if (!claim(claimed, PRODUCER_IDS)) return undefined
          const from = state.nextProducerId
          return { commands: [{ type: 'producerIdsReserved', below: from + BLOCK }], result: from }
        },
      })
      this.#next = block
      this.#below = block + BLOCK
    } finally {
      this.#reserving = undefined
    }
  }

  #register(requestId: RequestId, name: string): Change<ProducerIdentity> {
    const { state } = this.#options
    return {
      decide: ({ claimed }) => {
        if (!claim(claimed, PRODUCER_IDS, `producer ${name}`, `request ${requestId}`)) return undefined
        const before = state.requests.get(requestId)?.result as ProducerIdentity | undefined
        if (before?.producerId !== undefined) return { commands: [], result: before }
        const known = state.producerNames.get(name)
        if (known === undefined) this.#checkRoom()
        const producerId = known?.producerId ?? state.nextProducerId
        const producerEpoch = known === undefined ? 0 : known.producerEpoch + 1
        const command = { type: 'producerRegistered' as const, name, producerId, producerEpoch, requestId }
        return { commands: [command], result: { producerId, producerEpoch } }
      },
    }
  }

  #checkRoom(): void {
    const { state, limits, onSurplus } = this.#options
    const { size } = state.producerNames
    if (size >= limits.producersMax) onSurplus()
    if (size >= NAMES_REFUSED_FACTOR * limits.producersMax)
      throw new MillraceError('LIMIT_REACHED', { message: `there are ${size} named producers` })
  }
}
