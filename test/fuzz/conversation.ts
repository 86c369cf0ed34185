import { HANDLERS } from '../../broker/session/handlers/index.js'
import { unpackFrame } from '../../protocol/frame.js'
import { type ErrorFields, isErrorCode } from '../../protocol/index.js'
import * as messages from '../../protocol/messages/index.js'
import type { Received, WireClient } from '../broker/session/wire-client.js'
import { encode } from './messagepack.js'
import { isFrame } from './second-opinion.js'

/** Answers by which a broker would say that it is broken, or that no broker gives. */
const NEVER = [
  'INTERNAL',
  'STORAGE_FAILED',
  'CORRUPT_DATA',
  'CONNECTION_LOST',
  'TIMEOUT',
  'CLOSED',
  'NOT_LEADER',
  'CROSS_SHARD',
  'TOPIC_MISMATCH',
  'SCHEMA_MISMATCH',
  'BUFFER_FULL',
  'UNAUTHENTICATED',
]
const PATIENCE_MS = 30_000
/** A FETCH that may wait for longer than this need not be answered while we look. */
const WAIT_MS = 1_000
const BARRIER_ID = 4_000_000_000

/** How many answers a correlation id must get, and how many it may get. */
interface Due {
  must: number
  may: number
}

/**
 * Sends frames without waiting, then waits for what is due. Throws where the broker does not answer as PROTOCOL.md says:
 * each request once, with a code of the catalogue; what is no frame with BAD_FRAME and a close with 1007. Resolves with
 * whether the connection lived through it.
 */
export async function converse(
  client: WireClient,
  sent: readonly Uint8Array[],
): Promise<{ isOpen: boolean }> {
  const bad = sent.findIndex((bytes) => !isFrame(bytes))
  const due = new Map<number, Due>()
  for (const bytes of bad === -1 ? sent : sent.slice(0, bad)) count(due, unpackFrame(bytes))
  for (const bytes of sent) client.webSocket.send(bytes)
  if (bad !== -1) return await assertClosed(client, due)
  client.webSocket.send(encode([messages.ping.opcode, BARRIER_ID]))
  count(due, [messages.ping.opcode, BARRIER_ID])
  const missing = () => [...due].filter(([id, { must }]) => (answers(client.received).get(id) ?? 0) < must)
  const untilMs = performance.now() + PATIENCE_MS
  while (missing().length > 0) {
    if (client.webSocket.readyState !== client.webSocket.OPEN) {
      const { code } = await client.closed
      throw new Error(`closed with ${code} although every message was a frame`)
    }
    if (performance.now() > untilMs) throw new Error(`no answer for ${JSON.stringify(missing())}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  assertNoneTooMany(client.received, due)
  return { isOpen: true }
}

async function assertClosed(client: WireClient, due: Map<number, Due>): Promise<{ isOpen: false }> {
  const late = new Promise<{ code: number }>((resolve) =>
    setTimeout(resolve, PATIENCE_MS, { code: 0 }).unref(),
  )
  const { code } = await Promise.race([client.closed, late])
  if (code !== 1007) throw new Error(`a message was no frame, and the close code is ${code || 'none'}`)
  const said = client.received.at(-1)
  if (
    said?.name !== messages.error.name ||
    said.fields.code !== 'BAD_FRAME' ||
    said.fields.correlationId !== 0
  )
    throw new Error(`a message was no frame, and the last word is ${JSON.stringify(said)}`)
  dueOf(due, 0).may++
  assertNoneTooMany(client.received, due)
  return { isOpen: false }
}

function dueOf(due: Map<number, Due>, id: number): Due {
  const found = due.get(id) ?? { must: 0, may: 0 }
  due.set(id, found)
  return found
}

function count(due: Map<number, Due>, frame: readonly unknown[]): void {
  const [opcode, first] = frame
  const isId = typeof first === 'number' && Number.isInteger(first) && first >= 0 && first < 2 ** 32
  const id = isId ? first : 0
  const handler = HANDLERS.find((each) => each.opcode === opcode)
  if (handler !== undefined && !handler.isAnswered) {
    dueOf(due, 0).may++
    return
  }
  const entry = dueOf(due, id)
  const mayWait = opcode === messages.fetch.opcode && !((frame[7] as number) <= WAIT_MS)
  entry.may++
  if (!mayWait) entry.must++
}

/** Answers by correlation id. Throws at one that no broker should give. */
function answers(received: readonly Received[]): Map<number, number> {
  const counts = new Map<number, number>()
  const add = (id: number): void => void counts.set(id, (counts.get(id) ?? 0) + 1)
  for (const { name, fields } of received) {
    if (name === messages.produced.name)
      for (const ack of fields.acks as messages.ProduceAck[]) add(ack.correlationId)
    else if (typeof fields.correlationId === 'number') add(fields.correlationId)
    if (name === messages.error.name) assertTyped(fields as unknown as ErrorFields)
  }
  return counts
}

function assertTyped({ code, message }: ErrorFields): void {
  if (!isErrorCode(code) || NEVER.includes(code)) throw new Error(`answered with ${code}: ${message}`)
}

function assertNoneTooMany(received: readonly Received[], due: ReadonlyMap<number, Due>): void {
  for (const [id, given] of answers(received)) {
    const may = due.get(id)?.may ?? 0
    if (given > may) throw new Error(`correlation id ${id} got ${given} answers where ${may} were due`)
  }
}
