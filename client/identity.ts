import type { MillraceError } from '../protocol/error-codes.js'
import { initProducer, producerReady } from '../protocol/messages/produce.js'
import type { ProducerIdentity } from './batch.js'
import type { Connection } from './connection.js'
import { asMillraceError } from './errors.js'
import { newRequestId } from './random.js'
import { request } from './request.js'

export interface IdentityListener {
  ready(): void
  failed(error: MillraceError): void
}

/** Who a producer is for the broker: asked for when first needed, once. */
export class Identity {
  readonly #connection: Connection
  readonly #name: string | null
  readonly #listener: IdentityListener
  #current: ProducerIdentity | undefined
  #isAsking = false

  constructor(options: { connection: Connection; name: string | null; listener: IdentityListener }) {
    this.#connection = options.connection
    this.#name = options.name
    this.#listener = options.listener
  }

  get current(): ProducerIdentity | undefined {
    return this.#current
  }

  /** Gets one, or another one than `spent`. */
  need(spent: ProducerIdentity | undefined): void {
    if (this.#current !== undefined && this.#current !== spent) return
    this.#current = undefined
    if (!this.#isAsking) void this.#ask()
  }

  async #ask(): Promise<void> {
    this.#isAsking = true
    try {
      const fields = { requestId: newRequestId(this.#connection.settings.random), name: this.#name }
      const ready = await request(this.#connection, [initProducer, producerReady], fields, {
        isMutation: true,
      })
      this.#current = { producerId: ready.producerId, producerEpoch: ready.producerEpoch }
      this.#isAsking = false
      this.#listener.ready()
    } catch (error) {
      this.#isAsking = false
      this.#listener.failed(asMillraceError(error))
    }
  }
}
