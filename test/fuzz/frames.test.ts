import fc from 'fast-check'
import { afterAll, beforeAll, test } from 'vitest'
import { entryPayload, readEntryHeader } from '../../protocol/entry.js'
import { unpackFrame } from '../../protocol/frame.js'
import type { TopicId } from '../../protocol/ids.js'
import * as messages from '../../protocol/messages/index.js'
import { type Received, WireClient } from '../broker/session/wire-client.js'
import { FUZZ_TIMEOUT_MS, runCampaign } from './campaign.js'
import { converse } from './conversation.js'
import { FuzzedBroker, type Stored } from './fuzzed-broker.js'
import { legalFrame, type World } from './legal-frames.js'
import { encode } from './messagepack.js'
import { editTree, type TreeEdit, treeEdit } from './tree-edits.js'

interface FrameRecipe {
  readonly frames: readonly {
    readonly kind: number
    readonly seed: number
    readonly edits: readonly TreeEdit[]
  }[]
}

/** Many are legal, so that the others meet a session in which something goes on. */
const frameRecipe: fc.Arbitrary<FrameRecipe> = fc.record(
  {
    frames: fc.array(
      fc.record(
        {
          kind: fc.nat(63),
          seed: fc.nat(1_000_000),
          edits: fc.oneof(
            { weight: 2, arbitrary: fc.constant([]) },
            { weight: 3, arbitrary: fc.array(treeEdit, { minLength: 1, maxLength: 2 }) },
          ),
        },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 24 },
    ),
  },
  { noNullPrototype: true },
)

let fuzzed: FuzzedBroker

beforeAll(async () => {
  fuzzed = await FuzzedBroker.start()
})

afterAll(async () => {
  await fuzzed.stop()
})

test('frames that are wrong in a field or two get one typed answer each, and nothing of them is written', {
  timeout: FUZZ_TIMEOUT_MS,
}, async () => {
  await runCampaign({ name: 'frames', recipe: frameRecipe, runs: 40, holds: tryFrames })
})

/** A broker has room for so many worlds and more; a stop reads all that they left. */
const WORLDS_MAX = 300
let worlds = 0

async function tryFrames({ frames }: FrameRecipe): Promise<void> {
  if (++worlds % WORLDS_MAX === 0) {
    await fuzzed.stop()
    fuzzed = await FuzzedBroker.start()
  }
  const client = await WireClient.open(fuzzed.broker.port)
  try {
    const world = await fuzzed.world(client)
    client.received.splice(0)
    const sent = bytesOf(frames, world)
    const { isOpen } = await converse(client, sent)
    await fuzzed.assertServes()
    if (isOpen) await assertWritten(world, { sent, received: client.received })
  } finally {
    await client.close()
  }
  await fuzzed.assertReleased()
  fuzzed.assertNoFault()
}

const FIRST_ID = 1_000

function bytesOf(frames: FrameRecipe['frames'], world: World): Uint8Array[] {
  const make = () =>
    frames.map(({ kind, seed }, i) => legalFrame({ kind, seed, correlationId: FIRST_ID + i, world }))
  const others = make()
  return make().map((tree, i) => {
    let edited: unknown = tree
    for (const edit of frames[i]?.edits ?? []) edited = editTree(edited, edit, others)
    return encode(edited)
  })
}

/** A batch that the broker says it wrote. */
interface Acknowledged {
  readonly topicId: TopicId
  readonly partition: number
  readonly baseOffset: number
  /** Undefined where it may be the answer to an earlier request. */
  readonly payload: Uint8Array | undefined
}

/** Throws unless the log holds what was acknowledged, and nothing else of this world. */
async function assertWritten(
  world: World,
  { sent, received }: { sent: readonly Uint8Array[]; received: readonly Received[] },
): Promise<void> {
  const acknowledged = acknowledgedOf(
    sent.map((bytes) => unpackFrame(bytes)),
    received,
  )
  const stored = await fuzzed.stored(`${world.name}-`)
  for (const [place, { topic, entries, startOffset }] of stored) {
    // Dead letters and their replays are the broker's own.
    if (topic.name.includes('.')) continue
    const partition = Number(place.split('/')[1])
    const mine = acknowledged.filter((each) => each.topicId === topic.topicId && each.partition === partition)
    for (const entry of entries) {
      const isSeed = Buffer.from(entry.bytes).includes(`${world.name} seed`)
      if (!isSeed && !mine.some(({ baseOffset }) => baseOffset === entry.baseOffset))
        throw new Error(`${place} offset ${entry.baseOffset} holds a batch that was not acknowledged`)
    }
    for (const { baseOffset, payload } of mine) {
      const entry = entries.find((each) => each.baseOffset === baseOffset)
      if (entry === undefined && baseOffset >= startOffset)
        throw new Error(`${place} offset ${baseOffset} was acknowledged and is not there`)
      if (entry !== undefined && payload !== undefined && !Buffer.from(payloadOf(entry)).equals(payload))
        throw new Error(`${place} offset ${baseOffset} holds another batch than was acknowledged`)
    }
  }
}

const payloadOf = ({ bytes }: Stored): Uint8Array => entryPayload(bytes, readEntryHeader(bytes))

function acknowledgedOf(frames: readonly unknown[][], received: readonly Received[]): Acknowledged[] {
  const found: Acknowledged[] = []
  const requestsOf = (id: unknown) => frames.filter((frame) => frame[1] === id)
  for (const { name, fields } of received) {
    if (name === messages.produced.name) {
      for (const { correlationId, baseOffset, duplicate } of fields.acks as messages.ProduceAck[]) {
        const requests = requestsOf(correlationId).filter((frame) => frame[0] === messages.produce.opcode)
        for (const request of requests) {
          const { topicId, partition, payload } = messages.produce.read(request)
          const isSure = requests.length === 1 && !duplicate
          found.push({ topicId, partition, baseOffset, payload: isSure ? payload : undefined })
        }
      }
    } else if (name === messages.producedChecked.name) {
      const { correlationId, baseOffset, duplicates } = fields as unknown as messages.ProducedChecked
      for (const request of requestsOf(correlationId)) {
        if (request[0] !== messages.produceChecked.opcode) continue
        const { topicId, partition, recordCount } = messages.produceChecked.read(request)
        if (duplicates.length < recordCount)
          found.push({ topicId, partition, baseOffset, payload: undefined })
      }
    } else if (name === messages.atomicDone.name) {
      const { correlationId, writes } = fields as unknown as messages.AtomicDone
      for (const request of requestsOf(correlationId)) {
        if (request[0] !== messages.atomic.opcode) continue
        const asked = messages.atomic.read(request).writes
        for (const [i, { partition, baseOffset, duplicates }] of writes.entries()) {
          const { topicId, recordCount } = asked[i] ?? { topicId: '' as TopicId, recordCount: 0 }
          if (duplicates.length < recordCount)
            found.push({ topicId, partition, baseOffset, payload: undefined })
        }
      }
    }
  }
  return found
}
