import { type Client, connect } from 'millrace'
import { type TestBroker, testBroker } from 'millrace/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Confirmations, type Order, OrderService, Orders, SHIPPING_LEASE_MS } from './order-service.js'

let broker: TestBroker
let client: Client
let service: OrderService
let stopped: AbortController

beforeEach(async () => {
  broker = await testBroker()
  client = broker.client()
  service = new OrderService(client)
  stopped = new AbortController()
  await service.open()
})

afterEach(async () => {
  stopped.abort()
  await broker.close()
})

const orders = (count: number): Order[] =>
  Array.from({ length: count }, (_, i) => ({ id: `order-${i}`, item: 'tea' }))

async function confirmed(): Promise<string[]> {
  const ids: string[] = []
  for await (const { value } of client.read(Confirmations, { from: 'earliest', to: 'end' }))
    ids.push(value.order)
  return ids.sort()
}

describe('an order', () => {
  it('is placed once, however often the customer clicks', async () => {
    const [order] = orders(1) as [Order]
    expect(await service.place(order)).toBe('placed')
    expect(await service.place(order)).toBe('known')
  })

  it('is placed also when the broker is busy at first', async () => {
    const fault = broker.failNext('produce', 'BACKPRESSURE', { times: 2 })
    const [order] = orders(1) as [Order]
    expect(await service.place(order)).toBe('placed')
    expect(fault.hits).toBe(2)
  })

  it('is placed once when the broker dies after it has written it and before it could say so', async () => {
    const [order] = orders(1) as [Order]
    const crashed = broker.crashAfter('produce')
    const placed = service.place(order)
    await crashed
    await broker.restart()
    await placed
    expect(await service.place(order)).toBe('known')
    const { partitions } = await client.describeTopic(Orders)
    const records = partitions.map(({ startOffset, endOffset }) => endOffset - startOffset)
    expect(records.reduce((sum, count) => sum + count, 0)).toBe(1)
  })

  it('is confirmed once, when the broker crashes in the middle of all', async () => {
    const confirming = service.confirm(stopped.signal)
    const placed = orders(60).map((order) => service.place(order))
    for (let crashes = 0; crashes < 3; crashes++) {
      await placed[10 * crashes]
      await broker.crash()
      await broker.restart()
    }
    await Promise.all(placed)
    const ids = orders(60).map(({ id }) => id)
    await expect.poll(confirmed, { timeout: 20_000 }).toEqual(ids.sort())
    stopped.abort()
    await confirming
    expect(await confirmed()).toEqual(ids)
  })
})

describe('a parcel', () => {
  it('goes to another shipper when the first one hangs for as long as its lease', async () => {
    const [order] = orders(1) as [Order]
    // A client of its own, on the machine's clock: while the test moves the time, it does nothing.
    const other = connect(broker.url)
    const taken = new Promise<Order>((resolve) => {
      const hang = (parcel: Order) => new Promise<void>(() => resolve(parcel))
      void new OrderService(other).ship(hang, stopped.signal).catch(() => {})
    })
    await service.place(order)
    await taken

    const shipped: Order[] = []
    const shipping = service.ship(async (parcel) => void shipped.push(parcel), stopped.signal)
    await broker.advance(SHIPPING_LEASE_MS - 10_000)
    expect(shipped).toEqual([])
    await broker.advance(20_000)
    await expect.poll(() => shipped).toEqual([order])
    stopped.abort()
    await shipping
    await other.close({ drainMs: 0 })
  })

  it('is shipped once after a crash when its end was acknowledged before', async () => {
    const shipped: string[] = []
    const shipping = service.ship(async ({ id }) => void shipped.push(id), stopped.signal)
    await service.place({ id: 'first', item: 'tea' })
    const lag = async () => (await client.groups.describe('ship')).partitions.map(({ lag }) => lag.records)
    await expect
      .poll(async () => shipped.length === 1 && (await lag()).every((records) => records === 0))
      .toBe(true)
    await broker.crash()
    await broker.restart()
    await service.place({ id: 'second', item: 'tea' })
    await expect.poll(() => shipped).toEqual(['first', 'second'])
    // Past the lease: what had not been acknowledged would come again.
    await broker.advance(2 * SHIPPING_LEASE_MS)
    expect(shipped).toEqual(['first', 'second'])
    stopped.abort()
    await shipping
  })
})
