import type { EventOf, HistoryEvent } from '../history.js'
import { type Observed, placeKey } from '../observed.js'
import { RisingMax } from '../rising-max.js'
import type { Finding, Rule } from '../rule.js'

type Chunk = EventOf<'chunk' | 'chunkGone'>

/** What shows that a partition starts at an offset, or behind it. */
interface Start {
  readonly offset: number
  readonly event: HistoryEvent
}

/** Caches keep a chunk for good: it must be what its URL gave first, and a URL that gave nothing any more gives nothing again. */
export const chunkBytes: Rule = {
  name: 'chunk-bytes',
  promise: "A chunk's URL gives the same bytes for ever, until they are deleted, and then none.",
  *find(observed) {
    const starts = new Map<string, RisingMax<Start>>()
    for (const chunks of observed.chunks.values()) {
      const [place] = chunks as [Chunk]
      const key = placeKey(place)
      const known = starts.get(key) ?? startsOf(observed, key)
      starts.set(key, known)
      yield* changed(chunks)
      yield* deleted(chunks, known)
      yield* wanted(observed, chunks)
    }
  },
}

const sinceOf = (event: Chunk): number => event.since ?? event.index

function* changed(chunks: readonly Chunk[]): Generator<Finding> {
  let first: EventOf<'chunk'> | undefined
  let gone: Chunk | undefined
  for (const event of chunks) {
    if (event.type === 'chunkGone') {
      gone ??= event
      continue
    }
    if (first !== undefined && first.digest !== event.digest)
      yield { message: `${event.url} gave other bytes before`, events: [first, event] }
    if (gone !== undefined && sinceOf(event) > gone.index)
      yield { message: `${event.url} was gone, and gives bytes`, events: [gone, event] }
    first ??= event
  }
}

function startsOf(observed: Observed, key: string): RisingMax<Start> {
  const log = observed.logs.get(key)
  const told = (log?.bounds ?? []).map((event): Start => ({ offset: event.startOffset, event }))
  const done = (observed.deletions.get(key) ?? []).flatMap(({ asked, end, isDone }): Start[] =>
    isDone && end !== undefined ? [{ offset: asked.offset, event: end }] : [],
  )
  return new RisingMax([...told, ...done], {
    at: ({ event }) => event.index,
    offset: ({ offset }) => offset,
  })
}

function* deleted(chunks: readonly Chunk[], starts: RisingMax<Start>): Generator<Finding> {
  for (const event of chunks) {
    if (event.type === 'chunkGone') continue
    const start = starts.before(sinceOf(event))
    if (start === undefined || start.offset <= event.from) continue
    yield {
      message: `${event.url} begins at offset ${event.from}, and everything below ${start.offset} was deleted`,
      events: [start.event, event],
    }
  }
}

/** Gone though nobody deleted any of it. */
function* wanted(observed: Observed, chunks: readonly Chunk[]): Generator<Finding> {
  for (const event of chunks) {
    const { topicId } = event
    const topic = observed.topics.get(topicId)
    if (event.type === 'chunk' || observed.gone.has(topicId) || topic?.expires || topic?.untilAcked) continue
    const deletions = observed.deletions.get(placeKey(event)) ?? []
    const isDeleted = deletions.some(
      ({ asked, isRefused }) => !isRefused && asked.index < event.index && asked.offset > event.from,
    )
    if (!isDeleted) yield { message: `${event.url} is gone, and nobody deleted it`, events: [event] }
  }
}
