import type { TopicId } from '../../protocol/ids.js'
import type { QueueDeliver } from '../../protocol/messages/queue.js'
import { clip, type OffsetRange } from '../shard/offset-ranges.js'
import type { EntrySlice, EntrySlicer, EntryView } from './entry-slice.js'
import type { Delivery } from './queue-events.js'
import { type QueueRead, releaseAll } from './queue-read.js'

/** QUEUE_DELIVER without what its member and its payloads say. */
export type DeliveryHead = Omit<QueueDeliver, 'groupId' | 'memberId' | 'payloads'>

export interface DeliveryFrame {
  readonly head: DeliveryHead
  readonly payloads: readonly Uint8Array[]
  readonly bytes: number
  /** Call it once the payloads are sent, or will not be. */
  release(): void
}

/** What is put into one frame, unless one batch alone has more. */
const FRAME_BYTES_MAX = 1024 * 1024
/** Less than this is copied, rather than hold the memory that it lies in until a socket has taken it. */
const COPY_BYTES_MAX = 64 * 1024

/** Cuts the jobs of one lease out of what was read, as frames of bounded size. Rejects with CORRUPT_DATA. */
export async function deliveryFrames(
  delivery: Delivery,
  from: { reads: readonly QueueRead[]; slicer: EntrySlicer; topicId: TopicId; partition: number },
): Promise<DeliveryFrame[]> {
  const reads = from.reads.filter((read) => read.entries.some((entry) => overlaps(entry, delivery.ranges)))
  for (const read of reads) read.hold()
  try {
    const frames: DeliveryFrame[] = []
    let slices: { slice: EntrySlice; ranges: OffsetRange[] }[] = []
    let bytes = 0
    const endFrame = (): void => {
      if (slices.length > 0) frames.push(frameOf(slices, { ...from, delivery, reads, bytes }))
      slices = []
      bytes = 0
    }
    for (const entry of entriesOf(reads)) {
      const ranges = within(entry, delivery.ranges)
      if (ranges.length === 0) continue
      const slice = await from.slicer.slice(entry, ranges)
      if (bytes > 0 && bytes + slice.payloadBytes > FRAME_BYTES_MAX) endFrame()
      slices.push({ slice, ranges })
      bytes += slice.payloadBytes
    }
    endFrame()
    return frames
  } finally {
    releaseAll(reads)
  }
}

function frameOf(
  slices: readonly { slice: EntrySlice; ranges: readonly OffsetRange[] }[],
  of: {
    delivery: Delivery
    reads: readonly QueueRead[]
    bytes: number
    topicId: TopicId
    partition: number
  },
): DeliveryFrame {
  const { delivery, reads, bytes, topicId, partition } = of
  const ranges = slices.flatMap((cut) => cut.ranges.map(({ from, to }) => ({ from, to })))
  const parts = slices.flatMap(({ slice }) => slice.parts)
  const isCopied = bytes <= COPY_BYTES_MAX
  if (!isCopied) for (const read of reads) read.hold()
  const head: DeliveryHead = {
    topicId,
    partition,
    leaseId: delivery.leaseId,
    deadline: delivery.deadline,
    ranges,
    counts: countsWithin(delivery.counts, ranges),
    batches: slices.map(({ slice: { header, recordCount, payloadBytes } }) => ({
      baseOffset: header.baseOffset,
      appendTime: header.appendTime,
      baseTimestamp: header.baseTimestamp,
      recordCount,
      payloadBytes,
    })),
  }
  return {
    head,
    payloads: isCopied ? [Buffer.concat(parts)] : parts,
    bytes,
    release: () => {
      if (!isCopied) releaseAll(reads)
    },
  }
}

/** Those of jobs in these ranges; both are in the order of their offsets. */
function countsWithin(counts: Delivery['counts'], ranges: readonly OffsetRange[]): DeliveryHead['counts'] {
  let i = 0
  return counts.filter(({ offset }) => {
    while (i < ranges.length && (ranges[i] as OffsetRange).to <= offset) i++
    return i < ranges.length && (ranges[i] as OffsetRange).from <= offset
  })
}

/** Each entry once, in order: reads that began at different offsets may have the same one. */
function entriesOf(reads: readonly QueueRead[]): EntryView[] {
  const entries = new Map(reads.flatMap((read) => read.entries.map((entry) => [entry.from, entry])))
  return [...entries.values()].sort((a, b) => a.from - b.from)
}

const overlaps = (range: OffsetRange, ranges: readonly OffsetRange[]): boolean =>
  ranges.some(({ from, to }) => from < range.to && range.from < to)

const within = (entry: OffsetRange, ranges: readonly OffsetRange[]): OffsetRange[] =>
  ranges.map((range) => clip(range, entry)).filter(({ from, to }) => from < to)
