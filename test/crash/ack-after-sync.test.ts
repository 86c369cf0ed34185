import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { crc32 } from '#crc32'
import { RawConnection } from '../../load/bench/raw-connection.js'
import { produce, produced } from '../../protocol/messages/index.js'
import { RecordBatchBuilder } from '../../protocol/records.js'
import { BrokerProcess } from '../support/broker-process.js'
import { asHex, parseTrace, type SystemCall } from '../support/system-calls.js'

const hasStrace = (() => {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()
if (!hasStrace && process.env.CI !== undefined) throw new Error('strace is missing, and CI must have it')
if (!hasStrace) console.log('skipped: strace is not installed')

const COUNT = 40
const marker = (n: number): string => `marker-${String(n).padStart(6, '0')}`
const WRITES = /^(p?write(64|v|v2)?|sendmsg|sendto)$/

/** Why the trace does not show each acknowledgement after its own durable write; undefined when it does. */
function faultOf(calls: readonly SystemCall[]): string | undefined {
  const durable = new Set(calls.filter(isDurableOpen).map(({ result }) => result))
  const writes = calls.filter(({ name }) => WRITES.test(name))
  const ack = asHex(new Uint8Array([0x92, produced.opcode]))
  const acks = writes.filter(({ name, args }) => name !== 'pwrite64' && args.includes(ack))
  for (let n = 0; n < COUNT; n++) {
    const write = writes.find(({ name, args }) => name === 'pwrite64' && args.includes(asHex(marker(n))))
    if (write === undefined) return `record ${n} was not written`
    if (!durable.has(write.args.slice(0, write.args.indexOf(','))))
      return `record ${n} went to a file without O_DSYNC`
    const answer = acks[n]
    if (answer === undefined) return `record ${n} was not acknowledged`
    if (answer.begun <= write.returned) return `record ${n} was acknowledged before its write returned`
  }
  return undefined
}

const isDurableOpen = ({ name, args }: SystemCall): boolean => name === 'openat' && args.includes('O_DSYNC')

describe('an acknowledgement', () => {
  test.skipIf(!hasStrace)(
    'leaves the process only after the O_DSYNC write of its record returned',
    { timeout: 300_000 },
    async () => {
      const directory = await mkdtemp(join(tmpdir(), 'millrace-strace-'))
      const trace = join(directory, 'trace')
      const broker = new BrokerProcess({
        dataDir: join(directory, 'data'),
        // Few files to preallocate: strace makes every call slow.
        flags: { 'wal-segment-bytes': '8MiB', 'wal-bytes-max': '64MiB', 'spare-wal-segments': '1' },
        under: [
          'strace',
          '-f',
          '-xx',
          '-s',
          '4096',
          '-o',
          trace,
          '-e',
          'trace=openat,write,writev,pwrite64,pwritev,sendmsg,sendto',
        ],
      })
      try {
        await broker.start()
        await produceOneByOne(broker.url)
        await broker.stop()
        const calls = parseTrace(await readFile(trace, 'latin1'))
        expect(faultOf(calls)).toBeUndefined()
        // The check itself can fail: the same trace with the acknowledgements moved before the writes.
        const early = calls.map((call) =>
          call.name === 'pwrite64' ? { ...call, returned: call.returned + 1e9 } : call,
        )
        expect(faultOf(early)).toMatch(/before its write returned/)
        expect(faultOf(calls.filter((call) => !isDurableOpen(call)))).toMatch(/without O_DSYNC/)
      } finally {
        await broker.kill()
        await rm(directory, { recursive: true })
      }
    },
  )
})

async function produceOneByOne(url: string): Promise<void> {
  const connection = await RawConnection.open(url)
  await connection.hello()
  const topicId = await connection.createTopic('traced')
  const builder = new RecordBatchBuilder()
  for (let n = 0; n < COUNT; n++) {
    builder.append({ key: null, value: marker(n), timestamp: 1_700_000_000_000 })
    const { payload, recordCount, baseTimestamp } = builder.finish()
    const answer = await connection.ask(
      produce.write({
        correlationId: 100 + n,
        topicId,
        partition: 0,
        producerId: null,
        producerEpoch: 0,
        baseSequence: 0,
        attributes: 0,
        baseTimestamp,
        recordCount,
        inflatedBytes: payload.length,
        payloadCrc: crc32(payload),
        payload,
      }),
    )
    expect(produced.read(answer).acks[0]).toMatchObject({ correlationId: 100 + n, baseOffset: n })
  }
  connection.close()
}
