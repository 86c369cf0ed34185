/**
 * A small order service: orders come in once however often a customer clicks, each gets one confirmation, and shippers share
 * the parcels. Its tests stand beside it: they crash the broker in the middle and let leases run out, in a second or two.
 */
import { type Client, defineTopic, json, text } from 'millrace'

export interface Order {
  readonly id: string
  readonly item: string
}

export const Orders = defineTopic({ name: 'orders', key: text(), value: json<Order>() })
export const Confirmations = defineTopic({
  name: 'confirmations',
  key: text(),
  value: json<{ order: string }>(),
})

export const SHIPPING_LEASE_MS = 30_000

export class OrderService {
  readonly #client: Client

  /** It is given its client, so that a test can hand it one whose time the test moves. */
  constructor(client: Client) {
    this.#client = client
  }

  async open(): Promise<void> {
    await this.#client.ensureTopic(Orders, { partitions: 2 })
    await this.#client.ensureTopic(Confirmations, { partitions: 2 })
  }

  /** Takes an order. A second one with its id, whoever sends it and whenever within ten minutes, is the same order. */
  async place(order: Order): Promise<'placed' | 'known'> {
    const producer = this.#client.producer(Orders)
    try {
      const { duplicate } = await producer.send({ key: order.id, value: order, dedupId: order.id })
      return duplicate ? 'known' : 'placed'
    } finally {
      await producer.close()
    }
  }

  /** Confirms orders until the signal: the confirmation and the end of the work on its order are one write. */
  async confirm(signal: AbortSignal): Promise<void> {
    const orders = this.#client.consume(Orders, { group: 'confirm', ifNoCursor: 'earliest', signal })
    try {
      for await (const order of orders) {
        const confirmation = Confirmations.record({ key: order.key, value: { order: order.value.id } })
        await this.#client.atomic({ writes: [confirmation], acks: [order] })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** Ships orders until the signal. One that a shipper does not finish goes to another when its lease is over. */
  async ship(send: (order: Order) => Promise<void>, signal: AbortSignal): Promise<void> {
    const parcels = this.#client.queue(Orders, { group: 'ship', leaseMs: SHIPPING_LEASE_MS, signal })
    try {
      await parcels.run((parcel) => send(parcel.value))
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}
