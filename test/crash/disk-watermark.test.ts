import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { connect, defineTopic, text } from '../../client/index.js'
import { BrokerProcess } from '../support/broker-process.js'
import { GroupLedger, type Sent } from '../support/group-ledger.js'
import { SmallFileSystem } from '../support/small-file-system.js'
import { until } from '../support/until.js'

const MIB = 1024 * 1024
const PARTITIONS = 2
/** How much the broker may write before its disk is at the watermark. */
const ROOM_BYTES = 24 * MIB
/** What is written altogether: the room is not enough for it. */
const RECORDS = 7_000
/** Pause between batches of 100 records: some 16 MB a second. */
const PAUSE_MS = 50
const RECORD_BYTES = 8_000

const Orders = defineTopic({ name: 'orders', key: text(), value: text() })
const Jobs = defineTopic({ name: 'jobs', key: text(), value: text() })

test('a broker whose disk is at the watermark refuses records, takes acks, deletes, and takes records again by itself', {
  timeout: 300_000,
}, async () => {
  const disk = await SmallFileSystem.make(64)
  const watermark = (await disk.freeBytes()) - ROOM_BYTES
  const broker = new BrokerProcess({
    dataDir: disk.directory,
    flags: {
      'disk-free-bytes-min': `${watermark}`,
      'batch-bytes-max': '256KiB',
      'record-bytes-max': '64KiB',
      'group-bytes-max': '256KiB',
      'wal-segment-bytes': '1MiB',
      'wal-bytes-max': '8MiB',
      'chunk-bytes': '256KiB',
      'snapshot-every-bytes': '2MiB',
    },
  })
  await broker.start()
  const { pid } = broker
  const client = connect(broker.url)
  const other = connect(broker.url)
  try {
    const retention = { untilAcked: true }
    await client.createTopic(Orders, { partitions: PARTITIONS, retention })
    await client.createTopic(Jobs, { retention })
    await client
      .producer(Jobs)
      .sendBatch(Array.from({ length: 20 }, (_, i) => ({ key: null, value: `${i}` })))
    const sent: Sent[] = []
    let mayOutrun = false
    const producing = (async () => {
      const producer = client.producer(Orders)
      for (let n = 0; n < RECORDS; n += 100) {
        const values = Array.from({ length: 100 }, (_, i) => `${n + i} ${'x'.repeat(RECORD_BYTES)}`)
        const places = await producer.sendBatch(values.map((value) => ({ key: value.slice(0, 5), value })))
        sent.push(...places.map(({ partition, offset }, i) => ({ partition, offset, value: values[i] })))
        await sleep(PAUSE_MS)
        // The broker looks at its disk once a second, and on a busy machine later: all would be written by then.
        while (!mayOutrun && (await disk.freeBytes()) < watermark) await sleep(PAUSE_MS)
      }
    })()
    producing.catch(() => {})
    const orders = other.consume(Orders, { group: 'billing', ifNoCursor: 'earliest' })[Symbol.asyncIterator]()
    const ledger = new GroupLedger('billing')
    const next = async () => {
      const { value: record } = await orders.next()
      if (record === undefined) throw new Error('the consumer ended')
      ledger.given(record)
      return record
    }
    const acknowledge = async () => {
      const record = await next()
      await record.acked()
      ledger.acked(record)
    }
    // Its cursor holds the chunks from now on.
    await acknowledge()
    await until(async () => (await disk.freeBytes()) < watermark)
    const refused = () =>
      client.atomic({ writes: [Orders.record({ key: null, value: 'more' })] }, { deliveryTimeoutMs: 300 })
    let refusal: unknown
    const isRefused = async () => {
      refusal = await refused().catch((error: unknown) => error)
      return (refusal as { code?: string }).code === 'DISK_FULL'
    }
    await until(isRefused)
    expect(refusal).toMatchObject({ retriable: true, outcome: 'notWritten' })
    const atWatermark = sent.length

    // Acks of both kinds, and reading.
    await acknowledge()
    let jobs = 0
    for await (const job of other.queue(Jobs, { group: 'mail' })) {
      await job.ack()
      if (++jobs === 20) break
    }
    // What is sealed or deleted may make room for some more, not for all.
    await sleep(1_500)
    await until(isRefused)
    expect(sent.length).toBeLessThan(0.8 * RECORDS)
    mayOutrun = true

    const total = async () => {
      const { partitions } = await client.describeTopic(Orders)
      return partitions.reduce((sum, { endOffset }) => sum + endOffset, 0)
    }
    let isProduced = false
    const produced = producing.then(() => {
      isProduced = true
    })
    while (!isProduced || ledger.records < (await total())) {
      for (const end = await total(); ledger.records < end; ) {
        const record = await next()
        if (ledger.records % 100 === 0 || ledger.records === end)
          await record.acked().then(() => ledger.acked(record))
      }
      await Promise.race([produced, sleep(20)])
    }
    await produced
    expect(sent).toHaveLength(RECORDS)
    expect(ledger.missing(sent)).toBeUndefined()
    expect(broker.pid).toBe(pid)
    expect(broker.output).toContain('records are taken again')
    const { partitions } = await client.describeTopic(Orders)
    for (const { startOffset } of partitions) expect(startOffset).toBeGreaterThan(RECORDS / PARTITIONS / 2)
    console.log(`at the watermark after ${atWatermark} of ${RECORDS} records`)
    await orders.return(undefined)
  } finally {
    await client.close({ drainMs: 0 })
    await other.close({ drainMs: 0 })
    await broker.kill()
    await disk.remove()
  }
})
